"""A prediction in figures: how much of the view each class covers, and how far obstacles are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from safetrip_sdk.manifest import ClassInfo
from safetrip_sdk.prediction import Prediction

__all__ = ["NEAREST_PERCENTILE", "summarize"]

NEAREST_PERCENTILE = 5
"""Of an obstacle class's depths: what counts as its nearest point (the minimum is a single noisy pixel)."""


def summarize(prediction: Prediction, classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """JSON-able figures of one prediction.

    Args:
        prediction: of a model with these classes.
        classes: of the bundle's manifest.

    Returns:
        frame_id, captured_at (ns, monotonic), timing (ms), `classes`: name -> fraction of the pixels, for
        each class in view; `obstacles`: name -> nearest_m (5th percentile), median_m (metres), for each
        obstacle class in view.
    """
    counts = np.bincount(prediction.labels.ravel(), minlength=len(classes))
    obstacles = {}
    for index, item in enumerate(classes):
        if item.kind == "obstacle" and counts[index]:
            depths = prediction.depth[prediction.labels == index]
            nearest, median = np.percentile(depths, [NEAREST_PERCENTILE, 50])
            obstacles[item.name] = {
                "nearest_m": round(float(nearest), 3),
                "median_m": round(float(median), 3),
            }
    total = prediction.labels.size
    timing = prediction.timing
    return {
        "frame_id": prediction.frame_id,
        "captured_at": prediction.captured_at,
        "timing": {
            "wait": round(timing.wait, 4),
            "upload": round(timing.upload, 4),
            "compute": round(timing.compute, 4),
            "download": round(timing.download, 4),
            "total": round(timing.total, 4),
        },
        "classes": {
            item.name: round(int(counts[index]) / total, 6)
            for index, item in enumerate(classes)
            if counts[index]
        },
        "obstacles": obstacles,
    }
