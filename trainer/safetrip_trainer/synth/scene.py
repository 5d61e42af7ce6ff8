"""What a scene is made of: textured quads in space, and painted patches of the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

__all__ = ["GroundPatch", "Light", "Quad", "Scene", "Texture", "Thing"]


class Texture:
    """A (h, w, 4) uint8 BGRA image with its mip levels; alpha below half is a hole."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.opaque = bool((image[..., 3] == 255).all())

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """Halved until 4 pixels remain on a side."""
        levels = [self.image]
        while min(levels[-1].shape[:2]) >= 8:
            height, width = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        return levels


@dataclass(frozen=True, eq=False)
class Quad:
    """A parallelogram: `corner` is its top left, `right` and `down` its edges, (3,) metres each.

    Seen only from the side where `right` points right; `both_sides` lifts that.
    """

    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    texture: Texture
    both_sides: bool = False


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that stands in the street. `label` is a class id, or 255 for what no class names.

    `quads` are placed relative to `position` and turned by `yaw`; a `billboard` turns to the camera instead.
    `width` and `height` in metres bound it, for its shadow.
    """

    label: int
    position: tuple[float, float, float]
    quads: tuple[Quad, ...]
    width: float
    height: float
    length: float = 0.0
    yaw: float = 0.0
    billboard: bool = False
    shadow: bool = True

    @cached_property
    def _local(self) -> np.ndarray:
        """(3, n, 3): corners, right and down edges of the quads."""
        return np.array(
            [[getattr(quad, name) for quad in self.quads] for name in ("corner", "right", "down")]
        )

    def placed(self, viewer: tuple[float, float, float]) -> np.ndarray:
        """(3, n, 3): corners, right and down edges in the world, a billboard's facing `viewer`."""
        yaw = self.yaw
        if self.billboard:
            yaw = math.atan2(self.position[0] - viewer[0], self.position[2] - viewer[2])
        sin, cos = math.sin(yaw), math.cos(yaw)
        world: np.ndarray = self._local @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        world[0] += self.position
        return world

    def moved(self, x: float, z: float, yaw: float = 0.0) -> Thing:
        """The same thing, made at the origin, at another place and turn."""
        sin, cos = math.sin(yaw), math.cos(yaw)
        own_x, height, own_z = self.position
        position = (x + own_x * cos + own_z * sin, height, z - own_x * sin + own_z * cos)
        return replace(self, position=position, yaw=self.yaw + yaw)


@dataclass(frozen=True, eq=False)
class GroundPatch:
    """Painted on the ground: `outline` (n, 2) metres x, z; `label` a class id or 255; later ones cover."""

    outline: np.ndarray
    label: int
    material: str


@dataclass(frozen=True)
class Light:
    """`direction` to the sun (unit, y up); `strength` of sun over sky 0..1; `tint` BGR factors."""

    direction: tuple[float, float, float] = (0.4, 0.8, -0.45)
    strength: float = 0.5
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """A world. `materials`: mip levels of the ground's atlas; `sky` (h, w, 3) uint8 ends at the horizon."""

    things: tuple[Thing, ...]
    ground: tuple[GroundPatch, ...]
    materials: list[np.ndarray]
    sky: np.ndarray
    light: Light = field(default_factory=Light)
    haze: float = 0.0
