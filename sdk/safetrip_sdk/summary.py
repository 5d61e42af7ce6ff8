"""A prediction in figures: what covers how much of the view, how far obstacles are, how far the way is."""

from __future__ import annotations

from typing import Any

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.hazards import Hazard, find_hazards
from safetrip_sdk.results.walkable import WALKABLE, find_walkable

__all__ = ["NEAREST_PERCENTILE", "summarize"]

NEAREST_PERCENTILE = 5
"""Of an obstacle class's depths: what counts as its nearest point (the minimum is a single noisy pixel)."""


def summarize(
    prediction: Prediction, table: ClassTable, intrinsics: CameraIntrinsics | None = None
) -> dict[str, Any]:
    """JSON-able figures of one prediction.

    Args:
        prediction: of a model with these classes.
        table: the model's classes.
        intrinsics: of the camera; adds bearings and sizes to the hazards.

    Returns:
        frame_id, captured_at (ns, monotonic), timing (ms), `classes`: name -> fraction of the pixels, for
        each class in view; `obstacles`: name -> nearest_m (5th percentile), median_m (metres), for each
        obstacle class in view; `hazards`: see `Hazard`, at most one for each of nine sectors; `free_m`:
        metres of free way by sector (absent where the model knows no surface to walk on).
    """
    counts = np.bincount(prediction.labels.ravel(), minlength=len(table))
    obstacles = {}
    for index in table.ids("obstacle"):
        if counts[index]:
            depths = prediction.depth[prediction.labels == index]
            nearest, median = np.percentile(depths, [NEAREST_PERCENTILE, 50])
            obstacles[table[index]] = {
                "nearest_m": round(float(nearest), 3),
                "median_m": round(float(median), 3),
            }
    total = prediction.labels.size
    sectors = min(9, prediction.labels.shape[1])
    timing = prediction.timing
    figures = {
        "frame_id": prediction.frame_id,
        "captured_at": prediction.captured_at,
        "timing": {stage: round(getattr(timing, stage), 4) for stage in timing.__slots__},
        "classes": {
            name: round(int(counts[index]) / total, 6) for index, name in enumerate(table) if counts[index]
        },
        "obstacles": obstacles,
        "hazards": [_hazard(item) for item in find_hazards(prediction, table, intrinsics, sectors)],
    }
    if any(table.infos[index].kind == "surface" for index in table.ids_of(WALKABLE)):
        free = find_walkable(prediction, table, intrinsics, sectors).free
        figures["free_m"] = [round(float(metres), 3) for metres in free]
    return figures


def _hazard(item: Hazard) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "sector": item.sector,
        "name": item.name,
        "distance_m": round(item.distance, 3),
        "box": [round(side, 4) for side in item.box],
    }
    if item.confidence is not None:
        figures["confidence"] = round(item.confidence, 3)
    if item.bearing is not None and item.size is not None:
        figures["bearing_deg"] = round(float(np.degrees(item.bearing)), 2)
        figures["size_m"] = [round(side, 3) for side in item.size]
    return figures
