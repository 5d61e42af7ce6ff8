"""Light, sky and camera effects of a walk."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.synth.scene import Light
from safetrip_trainer.synth.textures import Rng, fractal_noise

__all__ = ["Lens", "make_light", "make_sky"]


def make_light(rng: Rng) -> tuple[Light, float]:
    """A light (sunny, overcast or dusk) and the haze per metre."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.95)
    across = np.sqrt(1 - height**2)
    direction = (float(across * np.sin(azimuth)), float(height), float(across * np.cos(azimuth)))
    kind = rng.choice(["sun", "sun", "overcast", "dusk"])
    if kind == "sun":
        warm = rng.uniform(0.0, 0.08)
        light = Light(direction, rng.uniform(0.4, 0.75), (1 - warm, 1.0, 1 + warm))
    elif kind == "overcast":
        light = Light(direction, rng.uniform(0.0, 0.2), (1.04, 1.0, 0.97))
    else:
        light = Light(
            direction, rng.uniform(0.1, 0.4), (0.72, 0.7, 0.76) if rng.random() < 0.5 else (0.66, 0.74, 0.85)
        )
    return light, float(rng.choice([0.0, 0.002, 0.006, 0.012]))


def make_sky(rng: Rng, light: Light) -> np.ndarray:
    """(128, 512, 3) uint8: zenith above, horizon below, clouds, a line of distant roofs and trees."""
    blue = np.array([225, 165, 105]) * (0.6 + 0.5 * light.strength)
    gray = np.array([205, 200, 196])
    share = np.clip(light.strength * 1.6 - 0.1, 0, 1)
    zenith = share * blue + (1 - share) * gray * 0.9
    horizon = np.array([228, 222, 214]) * np.mean(light.tint)
    ramp = (np.arange(128) / 127.0)[:, None, None] ** 1.5
    sky = zenith * np.asarray(light.tint) * (1 - ramp) + horizon * ramp
    clouds = fractal_noise(rng, 256, 3)
    clouds = np.clip(cv2.resize(clouds, (512, 128)) + rng.uniform(-0.8, 0.8), 0, 1)[..., None] * 0.6
    sky = sky * (1 - clouds) + np.array([240, 240, 242]) * np.mean(light.tint) * clouds * np.ones_like(sky)
    far = horizon * rng.uniform(0.55, 0.8)
    x = 0
    while x < 512:
        width, height = int(rng.integers(8, 34)), int(rng.integers(2, 15))
        sky[128 - height :, x : x + width] = far * rng.uniform(0.85, 1.1)
        x += width
    picture: np.ndarray = np.clip(sky, 0, 255).astype(np.uint8)
    return picture


@dataclass(frozen=True)
class Lens:
    """`gain` and `balance` (BGR) of the exposure, `gamma`, `vignette` (darkening of the corners, 0..1),
    `blur` (sigma in pixels at 1920 wide), `noise` (deviation in grey levels)."""

    gain: float
    balance: tuple[float, float, float]
    gamma: float
    vignette: float
    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: Rng) -> Lens:
        """One camera's character."""
        balance = rng.uniform(0.94, 1.06, 3)
        return cls(
            gain=float(rng.uniform(0.82, 1.2)),
            balance=(float(balance[0]), float(balance[1]), float(balance[2])),
            gamma=float(rng.uniform(0.85, 1.15)),
            vignette=float(rng.uniform(0.0, 0.35)),
            blur=float(rng.uniform(0.6, 2.2)),
            noise=float(rng.uniform(1.0, 6.0)),
        )

    def expose(self, image: np.ndarray, rng: Rng) -> np.ndarray:
        """(H, W, 3) float32 scene light -> uint8."""
        height, width = image.shape[:2]
        sigma = max(self.blur * width / 1920, 0.35)
        size = 2 * int(np.ceil(2 * sigma)) + 1
        image = cv2.GaussianBlur(image, (size, size), sigma)
        y = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None] ** 2
        x = (np.arange(width, dtype=np.float32) / width - 0.5)[None, :] ** 2
        falloff = self.gain * (1 - self.vignette * 2 * (x + y))
        image *= falloff[..., None] * np.asarray(self.balance, np.float32)
        image += self._grain(rng, height, width)
        np.clip(image, 0, 255, out=image)
        curve = np.clip(255 * (np.arange(256) / 255.0) ** self.gamma, 0, 255).round().astype(np.uint8)
        return cv2.LUT(image.astype(np.uint8), curve)

    def _grain(self, rng: Rng, height: int, width: int) -> np.ndarray:
        """Sensor noise, one tile repeated: a field of the full size costs more than the scene."""
        side = 256
        tile = rng.standard_normal((side, side, 3)).astype(np.float32) * np.float32(self.noise)
        return np.tile(tile, (-(-height // side), -(-width // side), 1))[:height, :width]
