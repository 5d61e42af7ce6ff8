"""Polygons -> a mask of class ids, the lowest z_order first."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.cvat import Polygon

__all__ = ["rasterize"]


def rasterize(polygons: Iterable[Polygon], height: int, width: int) -> np.ndarray:
    """(height, width) uint8 class ids, 255 where no polygon lies.

    Points are pixel indices (rounded) and a polygon's boundary belongs to it, as in cv2.fillPoly and PIL. Of
    two polygons with the same z_order the later one lies on top, as CVAT draws them.
    """
    mask = np.full((height, width), IGNORE, dtype=np.uint8)
    ordered = sorted(polygons, key=lambda item: item.z_order)
    if ordered:  # rounded all at once: an image has a hundred polygons
        pixels = np.rint(np.concatenate([polygon.points for polygon in ordered])).astype(np.int32)
        end = 0
        for polygon in ordered:
            start, end = end, end + len(polygon.points)
            cv2.fillPoly(mask, [pixels[start:end]], polygon.label)
    return mask
