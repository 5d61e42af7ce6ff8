"""The labelled point cloud of a prediction."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetrip_sdk.results.arguments import require
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["LabelledPoints", "to_points"]


class LabelledPoints(NamedTuple):
    """Points in the camera's axes.

    Attributes:
        xyz: (N, 3) float32 metres; x right, y down, z along the optical axis (ROS: the optical frame).
        labels: (N,) uint8 class ids.
    """

    xyz: NDArray[np.float32]
    labels: NDArray[np.uint8]


def to_points(
    prediction: Prediction, intrinsics: CameraIntrinsics, max_distance: float | None = None
) -> LabelledPoints:
    """Every pixel of the prediction as a point: X = (u - cx) z / fx, Y = (v - cy) z / fy, Z = z.

    Args:
        prediction: labels and depth, (h, w).
        intrinsics: of the camera, in its own image size.
        max_distance: metres along the optical axis; points behind it are left out. None: all.

    Returns:
        N points in reading order; pixels without a finite depth above 0 are left out.

    Raises:
        TypeError: an argument of another type.
    """
    require(prediction=prediction, intrinsics=intrinsics)
    if not isinstance(max_distance, Real | None):
        raise TypeError(f"max_distance: want metres, not {type(max_distance).__name__}")
    height, width = prediction.labels.shape
    camera = intrinsics.resized(height, width)
    depth = prediction.depth
    across = ((np.arange(width) - camera.cx) / camera.fx).astype(np.float32)
    down = ((np.arange(height) - camera.cy) / camera.fy).astype(np.float32)
    xyz = np.empty((height, width, 3), np.float32)
    np.multiply(depth, across[None, :], out=xyz[..., 0])
    np.multiply(depth, down[:, None], out=xyz[..., 1])
    xyz[..., 2] = depth
    points, labels = xyz.reshape(-1, 3), prediction.labels.ravel()
    limit = np.float32(np.inf if max_distance is None else max_distance)
    # Two reductions tell the usual case, in which nothing has to be left out (NaN fails both).
    if depth.size and depth.min() > 0 and depth.max() <= limit and np.isfinite(depth.max()):
        return LabelledPoints(points, labels.copy())
    keep = (np.isfinite(depth) & (depth > 0) & (depth <= limit)).ravel()
    return LabelledPoints(points[keep], labels[keep])
