"""What a stereo matcher would know of a rendered pair: 16-bit disparity and its confidence."""

from __future__ import annotations

import cv2
import numpy as np

from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.render import View

__all__ = ["CERTAIN", "MAX_RANGE", "match_views"]

MAX_RANGE = 60.0
"""Metres; disparity beyond is unknown."""
CERTAIN, _FAR, _EDGE = 255, 140, 90
_FAR_FROM = 35.0
_SCALE = 256


def match_views(left: View, right: View, camera: Camera, baseline: float) -> tuple[np.ndarray, np.ndarray]:
    """((H, W) uint16 disparity x 256, 0 unknown; (H, W) uint8 confidence, 0 unknown) of the left view.

    Unknown: sky, beyond 60 m, outside the right image, or hidden there (half-occluded). Less certain: beyond
    35 m, and at the edges of things. `baseline` in metres.
    """
    inverse = left.inverse_depth
    disparity = (camera.fx * baseline) * inverse
    scaled = np.rint(disparity * _SCALE)
    known = (inverse > 1.0 / MAX_RANGE) & (scaled >= 1) & (scaled <= np.iinfo(np.uint16).max)
    known &= _seen_by_right(inverse, disparity, right.inverse_depth)
    confidence = np.full(inverse.shape, CERTAIN, np.uint8)
    confidence[inverse < 1.0 / _FAR_FROM] = _FAR
    confidence[_edges(inverse)] = _EDGE
    confidence[~known] = 0
    return np.where(known, scaled, 0).astype(np.uint16), confidence


def _seen_by_right(inverse: np.ndarray, disparity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(H, W) bool: the right view shows, where the point should be, something at the point's depth."""
    x = np.arange(inverse.shape[1], dtype=np.float32)[None, :] - disparity
    first = np.floor(x).astype(np.intp)
    inside = (first >= 0) & (first + 1 < inverse.shape[1])
    rows = np.arange(inverse.shape[0])[:, None]
    first = np.clip(first, 0, inverse.shape[1] - 2)
    tolerance = 0.02 * inverse
    near = np.abs(right[rows, first] - inverse) < tolerance
    near |= np.abs(right[rows, first + 1] - inverse) < tolerance
    seen: np.ndarray = inside & near
    return seen


def _edges(inverse: np.ndarray) -> np.ndarray:
    """(H, W) bool: depth jumps by more than a tenth within a pixel's neighbourhood."""
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(inverse, kernel) > 1.1 * cv2.erode(inverse, kernel) + 1e-4
