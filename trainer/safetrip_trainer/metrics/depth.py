"""Depth accuracy in metres (Eigen et al. 2014, arXiv 1406.2283, section 4.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["DepthMetrics"]

_SUMS = ("squared", "absolute", "relative", "squared_relative", "delta1", "delta2", "delta3", "valid")


class DepthMetrics(Metric):
    """RMSE, MAE, AbsRel, SqRel and the share of pixels with max(d/t, t/d) below 1.25, 1.25^2, 1.25^3.

    Sums over every valid pixel of every image, so the result does not depend on the batch size.

    Args:
        max_depth: metres; pixels whose truth is deeper are not counted.
    """

    full_state_update = False
    squared: Tensor
    absolute: Tensor
    relative: Tensor
    squared_relative: Tensor
    delta1: Tensor
    delta2: Tensor
    delta3: Tensor
    valid: Tensor

    def __init__(self, max_depth: float = 80.0) -> None:
        super().__init__()
        self.max_depth = max_depth
        for name in _SUMS:
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, depth: Tensor, target: Tensor) -> None:
        """Adds images.

        Args:
            depth: metres, of the target's shape.
            target: metres, 0 or NaN where there is no measurement.
        """
        valid = (target > 0) & (target <= self.max_depth)
        # A net may say 0 m; a millimetre keeps the ratio finite.
        d, t = depth[valid].double().clamp(min=1e-3), target[valid].double()
        error = (d - t).abs()
        ratio = torch.maximum(d / t, t / d)
        self.squared += error.square().sum()
        self.absolute += error.sum()
        self.relative += (error / t).sum()
        self.squared_relative += (error.square() / t).sum()
        for power in (1, 2, 3):
            setattr(self, f"delta{power}", getattr(self, f"delta{power}") + (ratio < 1.25**power).sum())
        self.valid += valid.sum()

    def compute(self) -> dict[str, Any]:
        """RMSE and MAE in metres, SqRel in metres, the rest fractions; `None` where no pixel was valid."""
        pixels = int(self.valid)
        if pixels == 0:
            names = ("rmse", "mae", "abs_rel", "sq_rel", "delta1", "delta2", "delta3")
            return {**dict.fromkeys(names), "valid_pixels": 0}
        return {
            "rmse": float((self.squared / pixels).sqrt()),
            "mae": float(self.absolute / pixels),
            "abs_rel": float(self.relative / pixels),
            "sq_rel": float(self.squared_relative / pixels),
            "delta1": float(self.delta1 / pixels),
            "delta2": float(self.delta2 / pixels),
            "delta3": float(self.delta3 / pixels),
            "valid_pixels": pixels,
        }
