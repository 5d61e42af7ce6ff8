"""A small generated street whose geometry is known: ground with markings, and things that stand on it.

The camera moves along a sidewalk; things come nearer and, once passed, start again far away. Everything
upright faces the camera, so that a picture is a few rectangles over a ground that never changes but for its
tiles: full HD in a few milliseconds, without a camera or an image library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.manifest import ClassInfo
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAMERA_HEIGHT", "HORIZON", "SCENE_CLASSES", "Scene", "Thing"]

CAMERA_HEIGHT = 1.2
"""Metres over the ground."""

HORIZON = 80.0
"""Metres; the depth of what is farther, and of the sky."""

SPEED = 1.4
"""Metres a second at which the camera moves."""

TILE = 0.6
"""Metres of ground from one joint to the next."""

UNLABELLED = 255

SCENE_CLASSES = ClassTable(
    (
        ClassInfo("sidewalk", (86, 180, 233), "surface"),
        ClassInfo("braille_guide_blocks", (255, 221, 51), "surface"),
        ClassInfo("roadway", (102, 102, 110), "surface"),
        ClassInfo("caution_zone", (230, 126, 34), "surface"),
        ClassInfo("person", (220, 20, 60), "obstacle"),
        ClassInfo("car", (0, 50, 200), "obstacle"),
        ClassInfo("pole", (250, 250, 250), "obstacle"),
        ClassInfo("bollard", (255, 170, 0), "obstacle"),
    )
)

# Left to right: where a marking begins (metres from the camera's path), and what it is.
_BANDS = ((-math.inf, "roadway"), (-4.0, "sidewalk"), (-0.3, "braille_guide_blocks"), (0.3, "sidewalk"),
          (1.6, "caution_zone"), (2.0, "roadway"))  # fmt: skip


class Thing(NamedTuple):
    """Something upright: class, metres from the camera's path, width, height, and distance at the start."""

    name: str
    x: float
    width: float
    height: float
    z: float


THINGS = (
    Thing("person", -0.9, 0.5, 1.7, 6.0),
    Thing("pole", 1.2, 0.15, 3.0, 9.0),
    Thing("bollard", 0.6, 0.25, 0.8, 12.0),
    Thing("person", -2.2, 0.5, 1.6, 17.0),
    Thing("car", 3.6, 1.8, 1.5, 14.0),
    Thing("car", -6.0, 1.8, 1.5, 22.0),
)
_NEAREST, _LOOP = 1.5, 24.0
"""Metres: things are passed at the first and come again after the second."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The street as a camera of one size sees it.

    Attributes:
        height, width: of its frames, pixels.
    """

    height: int
    width: int

    @property
    def intrinsics(self) -> CameraIntrinsics:
        """Of the frames: 64 degrees across, the horizon two fifths down."""
        focal = 0.8 * self.width
        return CameraIntrinsics(
            focal, focal, (self.width - 1) / 2, 0.4 * self.height - 0.5, self.width, self.height
        )

    def things(self, seconds: float) -> list[Thing]:
        """What stands where, farthest first."""
        moved = [item._replace(z=_NEAREST + (item.z - _NEAREST - SPEED * seconds) % _LOOP) for item in THINGS]
        return sorted(moved, key=lambda item: -item.z)

    def truth(
        self, seconds: float, size: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels (h, w) uint8 (ids of `SCENE_CLASSES`, 255: sky) and depth (h, w) float32 metres.

        Args:
            seconds: since the start.
            size: (h, w); None: that of the frames.
        """
        height, width = size or (self.height, self.width)
        camera = self.intrinsics.resized(height, width)
        labels, depth = (array.copy() for array in _ground(camera))
        for item in self.things(seconds):
            rows, columns = _rectangle(camera, item)
            labels[rows, columns] = SCENE_CLASSES.index(item.name)
            depth[rows, columns] = item.z
        return labels, depth

    def draw(self, seconds: float, out: NDArray[np.uint8]) -> None:
        """Draw the frame at a time into `out`, (H, W, 3) uint8 BGR."""
        camera = self.intrinsics
        first, second = _pictures(camera)
        depth = _ground(camera)[1][:, 0]
        tiles = np.floor((depth + SPEED * seconds) / TILE).astype(np.int64) % 2
        edges = [0, *(np.flatnonzero(np.diff(tiles)) + 1).tolist(), self.height]
        for begin, end in pairwise(edges):
            out[begin:end] = (second if tiles[begin] else first)[begin:end]
        for item in self.things(seconds):
            rows, columns = _rectangle(camera, item)
            colour = SCENE_CLASSES.infos[SCENE_CLASSES.index(item.name)].color[::-1]
            # Farther things are paler, as in haze.
            haze = math.exp(-item.z / 40)
            out[rows, columns] = [round(haze * value + (1 - haze) * 200) for value in colour]


@lru_cache(maxsize=4)
def _ground(camera: CameraIntrinsics) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and depth of the empty street."""
    down = (np.arange(camera.height) - camera.cy) / camera.fy
    with np.errstate(divide="ignore"):
        z = np.where(down > 0, CAMERA_HEIGHT / down, np.inf)
    x = ((np.arange(camera.width) - camera.cx) / camera.fx)[None, :] * np.where(z < HORIZON, z, 0.0)[:, None]
    ids = np.array([SCENE_CLASSES.index(name) for _, name in _BANDS], np.uint8)
    labels = ids[np.searchsorted([begin for begin, _ in _BANDS], x, side="right") - 1]
    labels[z >= HORIZON] = UNLABELLED
    depth = np.broadcast_to(np.minimum(z, HORIZON)[:, None], labels.shape)
    return labels, depth.astype(np.float32)


@lru_cache(maxsize=4)
def _pictures(camera: CameraIntrinsics) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The empty street with light and with dark tiles, BGR."""
    labels, _ = _ground(camera)
    table = np.full((256, 3), (235, 206, 170), np.float32)
    table[: len(SCENE_CLASSES)] = [item.color[::-1] for item in SCENE_CLASSES.infos]
    light = table[labels]
    dark = np.where((labels == UNLABELLED)[..., None], light, 0.8 * light)
    return light.astype(np.uint8), dark.astype(np.uint8)


def _rectangle(camera: CameraIntrinsics, item: Thing) -> tuple[slice, slice]:
    """The rows and columns whose centres see the thing."""

    def span(centre: float, focal: float, low: float, high: float, limit: int) -> slice:
        first, last = (math.ceil(centre + focal * side / item.z) for side in (low, high))
        return slice(min(max(first, 0), limit), min(max(last, 0), limit))

    rows = span(camera.cy, camera.fy, CAMERA_HEIGHT - item.height, CAMERA_HEIGHT, camera.height)
    half = item.width / 2
    return rows, span(camera.cx, camera.fx, item.x - half, item.x + half, camera.width)
