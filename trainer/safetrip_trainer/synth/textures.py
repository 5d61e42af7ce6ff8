"""Materials of the ground: seamless tiles of TILE x TILE metres, different in every walk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

__all__ = ["MATERIALS", "TILE", "fractal_noise", "make_materials"]

TILE = 2.4
"""Metres a tile covers in both directions."""

Rng = np.random.Generator
Color = tuple[float, float, float]


def fractal_noise(rng: Rng, size: int, coarsest: int = 4, persistence: float = 0.6) -> np.ndarray:
    """(size, size) float32, mean 0, deviation 1, seamless: octaves of noise, `coarsest` cells first."""
    total = np.zeros((size, size), np.float32)
    cells, weight = coarsest, 1.0
    while cells <= size // 2:
        total += weight * _smooth_noise(rng, size, cells)
        cells, weight = cells * 2, weight * persistence
    noise: np.ndarray = (total - total.mean()) / max(float(total.std()), 1e-6)
    return noise


def _smooth_noise(rng: Rng, size: int, cells: int) -> np.ndarray:
    grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
    step = size / cells
    coordinate = (np.arange(size, dtype=np.float32) + 0.5) / step + 1.5
    x, y = np.meshgrid(coordinate, coordinate)
    return cv2.remap(grid, x, y, cv2.INTER_LINEAR)


def _colored(value: np.ndarray, color: Color) -> np.ndarray:
    """(T, T) brightness around 1 times a BGR colour -> (T, T, 3) float32."""
    return value[..., None] * np.array(color, np.float32)


def _grid(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell number and position within the cell (0..1) along one axis."""
    position = (np.arange(size) + 0.5) / size * count
    return position.astype(int), (position % 1.0).astype(np.float32)


def _pavers(rng: Rng, size: int) -> np.ndarray:
    rows = int(rng.choice([4, 8, 12]))
    columns = int(rng.choice([4, 6, 8]))
    base = rng.uniform(115, 190)
    tint = [(1.0, 1.0, 1.0), (0.88, 0.95, 1.04), (0.80, 0.86, 1.10), (1.05, 1.0, 0.96)][rng.integers(4)]
    color = (base * tint[0], base * tint[1], base * tint[2])
    y = (np.arange(size) + 0.5) / size * rows
    x = (np.arange(size) + 0.5) / size * columns
    row = y.astype(int)
    bond = 0.5 if rng.random() < 0.5 else 0.0
    shifted = (x[None, :] + bond * (row % 2)[:, None]) % columns
    shade = (1 + 0.09 * rng.standard_normal((rows, columns)))[row[:, None], shifted.astype(int)]
    joint = 0.012 / TILE
    gap = (np.minimum(shifted % 1, 1 - shifted % 1) < joint * columns) | (
        np.minimum(y % 1, 1 - y % 1)[:, None] < joint * rows
    )
    value = (shade + 0.04 * fractal_noise(rng, size, 8)) * np.where(gap, 0.62, 1.0)
    return _colored(value.astype(np.float32), color)


def _braille(rng: Rng, size: int, dots: bool) -> np.ndarray:
    base = rng.uniform(0.75, 1.08)
    color = (rng.uniform(20, 70) * base, rng.uniform(165, 200) * base, rng.uniform(205, 235) * base)
    _, within = _grid(size, 8)
    count = 6 if dots else 4
    bump = (within * count) % 1.0
    ridge = np.exp(-(((bump - 0.5) / 0.24) ** 2))
    height = ridge[:, None] * ridge[None, :] if dots else np.broadcast_to(ridge[None, :], (size, size))
    edge = np.minimum(within, 1 - within) < 0.03
    gap = edge[:, None] | edge[None, :]
    value = (0.82 + 0.28 * height + 0.05 * fractal_noise(rng, size, 4)) * np.where(gap, 0.6, 1.0)
    return _colored(value.astype(np.float32), color)


def _asphalt(rng: Rng, size: int, low: float, high: float) -> np.ndarray:
    base = rng.uniform(low, high)
    grain = rng.standard_normal((size, size)).astype(np.float32)
    value = 1 + 0.10 * grain + 0.07 * fractal_noise(rng, size, 2)
    return _colored(value, (base * 1.03, base, base * 0.98))


def _alley(rng: Rng, size: int) -> np.ndarray:
    """Worn concrete: warm, stained, cracked, patched."""
    base = rng.uniform(105, 150)
    value = 1 + 0.13 * fractal_noise(rng, size, 2) + 0.04 * rng.standard_normal((size, size))
    image = _colored(value.astype(np.float32), (base * 0.80, base * 0.93, base * 1.02))
    dark = tuple(float(value) * 0.5 for value in image.mean((0, 1)))
    for _ in range(5):
        steps = rng.normal(0, size / 20, (14, 2)) + rng.normal(0, size / 24, 2)
        crack = np.cumsum(np.vstack([rng.uniform(0, size, (1, 2)), steps]), axis=0) % size
        jump = np.abs(np.diff(crack, axis=0)).max(axis=1) < size / 2
        for start, end, keep in zip(crack[:-1], crack[1:], jump):
            if keep:
                cv2.line(image, _pixel(start), _pixel(end), dark, max(size // 256, 1))
    return image


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _bike_lane(rng: Rng, size: int) -> np.ndarray:
    red, green, blue = (62, 72, 165), (88, 125, 62), (150, 105, 60)
    color = np.array([red, red, green, blue][rng.integers(4)]) * rng.uniform(0.8, 1.15)
    value = 1 + 0.07 * rng.standard_normal((size, size)) + 0.07 * fractal_noise(rng, size, 2)
    return _colored(value.astype(np.float32), tuple(color))


def _paint(rng: Rng, size: int, color: Color) -> np.ndarray:
    worn = fractal_noise(rng, size, 6) + 0.5 * rng.standard_normal((size, size)).astype(np.float32)
    value = np.where(worn > rng.uniform(1.2, 2.2), 0.55, 1 + 0.03 * worn)
    return _colored(value.astype(np.float32), color)


def _kerb(rng: Rng, size: int) -> np.ndarray:
    base = rng.uniform(150, 205)
    _, within = _grid(size, 2)
    gap = (within < 0.012)[:, None]
    value = (1 + 0.05 * fractal_noise(rng, size, 8)) * np.where(gap, 0.5, 1.0)
    return _colored(value.astype(np.float32), (base, base, base))


def _soil(rng: Rng, size: int) -> np.ndarray:
    grass = np.array([45, rng.uniform(95, 135), 75])
    earth = np.array([55, 80, 105])
    share = np.clip(0.5 + 0.5 * fractal_noise(rng, size, 3) + rng.uniform(-0.5, 0.6), 0, 1)[..., None]
    blend = share * grass + (1 - share) * earth
    image: np.ndarray = blend * (1 + 0.16 * rng.standard_normal((size, size, 1)))
    return image.astype(np.float32)


def _hatched(rng: Rng, size: int) -> np.ndarray:
    """Diagonal warning stripes."""
    y, x = np.mgrid[0:size, 0:size] / size
    stripe = ((x + y) * 8) % 1.0 < 0.5
    light = np.array([30, 175, 220]) if rng.random() < 0.6 else np.array([205, 210, 210])
    image = np.where(stripe[..., None], light, np.array([52, 52, 55]))
    return (image * (1 + 0.07 * fractal_noise(rng, size, 4)[..., None])).astype(np.float32)


def _grating(rng: Rng, size: int) -> np.ndarray:
    """A drain's or a ventilation shaft's iron grating."""
    _, across = _grid(size, 48)
    _, along = _grid(size, 12)
    bar = (across < 0.45)[None, :] | (along < 0.14)[:, None]
    value = np.where(bar, rng.uniform(95, 130), 28) * (1 + 0.06 * fractal_noise(rng, size, 8))
    return _colored(value.astype(np.float32), (1.0, 0.98, 0.94))


def _stairs(rng: Rng, size: int) -> np.ndarray:
    """Steps seen from above: light treads, a bright nosing, dark risers."""
    _, within = _grid(size, 8)
    profile = np.select([within < 0.12, within < 0.34], [1.25, 0.5], 0.95)
    base = rng.uniform(120, 155)
    value = profile[:, None] * (1 + 0.05 * fractal_noise(rng, size, 8))
    return _colored(value.astype(np.float32), (base * 0.97, base, base))


MATERIALS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "pavers": _pavers,
    "bars": partial(_braille, dots=False),
    "dots": partial(_braille, dots=True),
    "asphalt": partial(_asphalt, low=58, high=92),
    "alley": _alley,
    "bike_lane": _bike_lane,
    "white": partial(_paint, color=(205, 208, 210)),
    "yellow": partial(_paint, color=(40, 160, 205)),
    "kerb": _kerb,
    "soil": _soil,
    "hatched": _hatched,
    "grating": _grating,
    "stairs": _stairs,
    "iron": partial(_asphalt, low=45, high=85),
}
"""Name -> maker of (size, size, 3) float32 BGR; the order is the order in the atlas."""


def make_materials(rng: Rng, size: int) -> list[np.ndarray]:
    """Every material, uint8 BGR, as a mip pyramid of atlases: tiles one below another, edges wrapped.

    Level k holds tiles of `size >> k` pixels, down to 16; each tile is padded by one pixel all round, so that
    linear interpolation never reaches its neighbour.
    """
    tiles = [np.clip(make(rng, size), 0, 255).astype(np.uint8) for make in MATERIALS.values()]
    levels = []
    while size >= 16:
        padded = [cv2.copyMakeBorder(tile, 1, 1, 1, 1, cv2.BORDER_WRAP) for tile in tiles]
        levels.append(np.concatenate(padded))
        size //= 2
        tiles = [cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA) for tile in tiles]
    return levels
