"""Depth that a robot may act on: what is not a number is near, never far and never overlooked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["known_depth"]


def known_depth(prediction: Prediction) -> NDArray[np.float32]:
    """(h, w) metres, 0 at pixels whose depth is not finite: a net that fails there must stop a robot.

    NaN compares as neither nearer nor farther: an obstacle would go unseen, a way would look free.
    """
    depth = prediction.depth
    with np.errstate(invalid="ignore", over="ignore"):
        total = depth.sum()  # one sum tells of any: cheaper than a look at each
    if np.isfinite(total):
        return depth
    return np.where(np.isfinite(depth), depth, np.float32(0.0))
