"""Depth that is no number: counted beside every figure, and enough by itself to reject what predicted it.

Figures are over the pixels that have a number, so that one NaN neither hides in a comparison (`nan > limit`
is false) nor makes all of them NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAULTS", "NotFinite", "depth_faults"]

FAULTS = {"depth_not_finite": "depth", "reference_not_finite": "FP32's depth, which it is held against,"}
"""Metrics that hold `NotFinite.found`, and whose depth each is."""


@dataclass
class NotFinite:
    """Pixels whose predicted depth is NaN or infinite, over frames.

    Attributes:
        pixels, frames: how many; `first` is the first such frame's name.
    """

    pixels: int = 0
    frames: int = 0
    first: str = ""

    def update(self, name: str, depth: NDArray[np.floating[Any]]) -> None:
        """Add the depth of the frame `name`, of any shape."""
        count = depth.size - int(np.count_nonzero(np.isfinite(depth)))
        if count:
            self.pixels += count
            self.frames += 1
            self.first = self.first or name

    @property
    def found(self) -> dict[str, Any] | None:
        """For the metrics; None when all depth was finite."""
        return asdict(self) if self.pixels else None


def depth_faults(metrics: Mapping[str, Any]) -> list[str]:
    """Why `metrics` (of `score_metrics`) may be accepted under no limits at all, in words; empty: they may.

    Metrics written before there was this count have no fault.
    """
    return [f"{whose} {_words(item)}" for key, whose in FAULTS.items() if (item := metrics.get(key))]


def _words(found: Mapping[str, Any]) -> str:
    pixels, frames = (
        f"{found[what]} {what[:-1] if found[what] == 1 else what}" for what in ("pixels", "frames")
    )
    return f"is not a finite number in {pixels} of {frames} (the first: {found['first']})"
