"""Drawing a thing's appearance in metres, and hanging it in space."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from safetrip_trainer.synth.scene import Quad, Texture

__all__ = ["Canvas", "Color", "box", "cylinder_shade", "extrusion", "plain", "upright"]

Color = tuple[float, float, float]
_SHIFT = 4
_ANGLE = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


class Canvas:
    """A transparent picture, `width` x `height` metres, x to the right from 0, y up from the ground.

    `pixels_per_metre` is chosen so that the longer side has at most `resolution` pixels.
    """

    def __init__(self, width: float, height: float, background: Color, resolution: int = 224) -> None:
        self.scale = resolution / max(width, height)
        self.width, self.height = width, height
        shape = (max(round(height * self.scale), 8), max(round(width * self.scale), 8))
        self._pixels = np.array([shape[1] / width, shape[0] / height])
        self.image = np.zeros((*shape, 4), np.uint8)
        self.image[..., :3] = np.clip(
            background, 0, 255
        )  # seen only where interpolation reaches past an edge

    def _points(self, points: Sequence[tuple[float, float]] | np.ndarray) -> np.ndarray:
        pixels = (np.asarray(points) * [1, -1] + [0, self.height]) * self._pixels - 0.5
        fixed: np.ndarray = np.rint(pixels * (1 << _SHIFT)).astype(np.int32)
        return fixed

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> Canvas:
        """Filled, any shape."""
        cv2.fillPoly(self.image, [self._points(points)], _bgra(color), cv2.LINE_8, _SHIFT)
        return self

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> Canvas:
        """Filled, between two corners."""
        return self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, color: Color) -> Canvas:
        """Filled, about a centre."""
        points = _CIRCLE * [radius_x, radius_y] + [x, y]
        cv2.fillPoly(self.image, [self._points(points)], _bgra(color), cv2.LINE_8, _SHIFT)
        return self

    def ring(self, x: float, y: float, radius: float, thickness: float, color: Color) -> Canvas:
        """A wheel: a circle's line of `thickness` metres."""
        center = self._points([(x, y)])[0]
        cv2.circle(
            self.image,
            tuple(int(value) for value in center),
            round(radius * self.scale * (1 << _SHIFT)),
            _bgra(color),
            self._thickness(thickness),
            cv2.LINE_8,
            _SHIFT,
        )
        return self

    def line(self, points: Sequence[tuple[float, float]], thickness: float, color: Color) -> Canvas:
        """A stroke of `thickness` metres through the points."""
        cv2.polylines(
            self.image,
            [self._points(points)],
            False,
            _bgra(color),
            self._thickness(thickness),
            cv2.LINE_8,
            _SHIFT,
        )
        return self

    def _thickness(self, metres: float) -> int:
        return max(round(metres * self.scale), 1)

    def mottle(self, rng: np.random.Generator, amount: float, cell: float = 0.05) -> Canvas:
        """Uneven colour: brightness noise in cells of about `cell` metres."""
        shape = [max(round(side / (cell * self.scale)), 2) for side in self.image.shape[:2]]
        cells = rng.normal(1.0, amount, shape).astype(np.float32)
        noise = cv2.resize(cells, self.image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        self.image[..., :3] = np.clip(self.image[..., :3] * noise[..., None], 0, 255)
        return self

    def rounded(self, depth: float = 0.45) -> Canvas:
        """Shade left to right as on a cylinder."""
        shade = cylinder_shade(self.image.shape[1], depth)
        self.image[..., :3] = np.clip(self.image[..., :3] * shade[None, :, None], 0, 255)
        return self

    def texture(self) -> Texture:
        """The finished picture."""
        return Texture(self.image)


def _bgra(color: Color) -> tuple[float, float, float, float]:
    blue, green, red = (min(max(float(value), 0.0), 255.0) for value in color)
    return blue, green, red, 255.0


def cylinder_shade(width: int, depth: float) -> np.ndarray:
    """(width,) factors: bright left of the middle, `depth` darker at the edges."""
    x = (np.arange(width) + 0.5) / width * 2 - 1
    return 1.08 - depth * np.abs(x + 0.2) ** 2


def plain(color: Color) -> Texture:
    """One colour."""
    return Texture(np.full((8, 8, 4), _bgra(color), np.uint8))


def upright(texture: Texture, width: float, height: float, bottom: float = 0.0, both: bool = True) -> Quad:
    """A standing picture, centred on x = 0, facing -z."""
    return Quad(
        np.array([-width / 2, bottom + height, 0.0]),
        np.array([width, 0.0, 0.0]),
        np.array([0.0, -height, 0.0]),
        texture,
        both,
    )


def box(
    size: tuple[float, float, float],
    front: Texture,
    side: Texture,
    top: Texture,
    bottom: float = 0.0,
    center: tuple[float, float] = (0.0, 0.0),
) -> tuple[Quad, ...]:
    """Five faces of a box of `size` (x, y, z) metres standing at `bottom`: `front` on both z faces."""
    width, height, length = size
    x0, x1 = center[0] - width / 2, center[0] + width / 2
    z0, z1 = center[1] - length / 2, center[1] + length / 2
    y1 = bottom + height
    down = np.array([0.0, -height, 0.0])
    along_x, along_z = np.array([width, 0.0, 0.0]), np.array([0.0, 0.0, length])
    return (
        Quad(np.array([x0, y1, z0]), along_x, down, front),
        Quad(np.array([x1, y1, z1]), -along_x, down, front),
        Quad(np.array([x0, y1, z1]), -along_z, down, side),
        Quad(np.array([x1, y1, z0]), along_z, down, side),
        Quad(np.array([x0, y1, z1]), along_x, -along_z, top),
    )


def extrusion(
    profile: Sequence[tuple[float, float]], width: float, side: Texture, strips: Sequence[Texture]
) -> tuple[Quad, ...]:
    """A body of outline `profile` (z, y) extruded along x: `side` on both ends, `strips` between points.

    The profile runs over the top from the tail (smallest z) to the nose; `side` shows it with the nose to the
    right, from z = 0 to its length, and its holes stay open. Centred on z.
    """
    points = np.array(profile, float)
    length, height = points[:, 0].max(), points[:, 1].max()
    half = length / 2
    along, down = np.array([0.0, 0.0, length]), np.array([0.0, -height, 0.0])
    mirrored = Texture(np.ascontiguousarray(side.image[:, ::-1]))
    quads = [
        Quad(np.array([width / 2, height, -half]), along, down, side),
        Quad(np.array([-width / 2, height, half]), -along, down, mirrored),
    ]
    for (z0, y0), (z1, y1), texture in zip(points[:-1], points[1:], strips):
        # Seen from outside, the later point is further up or ahead, and the picture's top; on the way down to
        # the nose it is the lower one, and the picture stands on its head.
        if y1 < y0:
            texture = Texture(np.ascontiguousarray(texture.image[::-1]))
        corner = np.array([-width / 2, y1, z1 - half])
        quads.append(Quad(corner, np.array([width, 0.0, 0.0]), np.array([0.0, y0 - y1, z0 - z1]), texture))
    return tuple(quads)
