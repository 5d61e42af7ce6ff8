"""Scenes of known geometry, ray by ray: a ground plane with stripes, and boxes. The reference for results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk import CameraIntrinsics, ClassTable, Prediction, Timing
from safetrip_sdk.manifest import ClassInfo

NAMES = {
    "sidewalk": "surface",
    "braille_guide_blocks": "surface",
    "roadway": "surface",
    "caution_zone": "surface",
    "person": "obstacle",
    "car": "obstacle",
    "pole": "obstacle",
}
TABLE = ClassTable(ClassInfo(name, (0, 0, 0), kind) for name, kind in NAMES.items())
NOTHING = 255


@dataclass(frozen=True)
class Box:
    """Axis-aligned in camera axes, metres: x right, y down, z forward."""

    name: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]


@dataclass(frozen=True)
class Patch:
    """A rectangle on the ground: x and z in metres."""

    name: str
    x: tuple[float, float]
    z: tuple[float, float]


def cast(
    camera: CameraIntrinsics,
    size: tuple[int, int],
    patches: list[Patch],
    boxes: list[Box],
    height: float = 1.2,
    horizon: float = 80.0,
) -> Prediction:
    """What a perfect model would say of the scene: labels and depth of the nearest hit of each pixel's ray.

    Args:
        camera: of its own image; the labels' pixels are centred in their share of that image.
        size: (h, w) of the labels.
        patches: later ones lie over earlier ones.
        boxes: obstacles.
        height: metres of the camera over the ground.
        horizon: metres; the depth where nothing is hit.
    """
    h, w = size
    u = (np.arange(w) + 0.5) * camera.width / w - 0.5
    v = (np.arange(h) + 0.5) * camera.height / h - 0.5
    x = np.broadcast_to(((u - camera.cx) / camera.fx)[None, :], size)
    y = np.broadcast_to(((v - camera.cy) / camera.fy)[:, None], size)
    labels = np.full(size, NOTHING, np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(y > 1e-6, height / y, np.inf)
    depth = np.where(ground < horizon, ground, horizon)
    for patch in patches:
        across = x * ground
        inside = (patch.x[0] <= across) & (across < patch.x[1])
        inside &= (patch.z[0] <= ground) & (ground < patch.z[1]) & (ground < horizon)
        labels[inside] = TABLE.index(patch.name)
    for box in boxes:
        hit = _slabs(x, y, box)
        nearer = hit < depth
        labels[nearer] = TABLE.index(box.name)
        depth = np.where(nearer, hit, depth)
    return Prediction(labels, depth.astype(np.float32), None, TABLE, 0, 0, Timing(0, 0, 0, 0, 0))


def _slabs(x: NDArray[np.float64], y: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """z at which rays (x, y, 1) enter the box; inf where they miss it."""
    enter, leave = np.full(x.shape, 0.0), np.full(x.shape, np.inf)
    for ray, low, high in zip((x, y, np.ones_like(x)), box.low, box.high):
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = low / ray, high / ray
        first, second = np.fmin(first, second), np.fmax(first, second)
        outside = (np.abs(ray) < 1e-12) & ((low > 0) | (high < 0))
        enter = np.where(outside, np.inf, np.fmax(enter, first))
        leave = np.fmin(leave, second)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def replaced(
    prediction: Prediction,
    labels: NDArray[np.uint8] | None = None,
    depth: NDArray[np.float32] | None = None,
    confidence: NDArray[np.uint8] | None = None,
    classes: tuple[str, ...] = TABLE,
) -> Prediction:
    """The same prediction with other arrays."""
    return Prediction(
        prediction.labels if labels is None else labels,
        prediction.depth if depth is None else depth,
        confidence,
        classes,
        0,
        0,
        prediction.timing,
    )
