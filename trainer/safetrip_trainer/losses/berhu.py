"""Inverse Huber (berHu) for depth."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.model.preprocess import resize

__all__ = ["InverseHuberLoss"]


class InverseHuberLoss(nn.Module):
    """`|e|` for `|e| <= c` and `(e^2 + c^2) / (2c)` beyond (Laina et al. 2016, arXiv 1606.00373).

    Larger than L1 for large errors; ordinary Huber, linear outside, is its opposite.

    Args:
        threshold: c, on normalised depth.
        max_depth: metres that normalise to 1; deeper pixels have no valid target.
        min_depth: metres that normalise to 0 on a logarithmic scale, on which an error counts by its ratio
            to the distance; `None` for the linear scale, on which far pixels weigh most.
    """

    def __init__(
        self, threshold: float = 0.1, max_depth: float = 80.0, min_depth: float | None = None
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.max_depth = max_depth
        self.min_depth = min_depth

    def _normalised(self, fraction: Tensor) -> Tensor:
        """A fraction of `max_depth` on the loss's scale, 0..1."""
        if self.min_depth is None:
            return fraction
        lowest = self.min_depth / self.max_depth
        return 1 - fraction.clamp(min=lowest).log() / math.log(lowest)

    def forward(self, depth: Tensor, target: Tensor) -> TaskLoss:
        """Scores one batch.

        Args:
            depth: (N, 1, h, w), a fraction of `max_depth`; brought to the target's resolution bilinearly.
            target: (N, H, W) metres, 0 where there is no measurement.
        """
        depth = resize(depth.float(), (target.shape[-2], target.shape[-1])).squeeze(1)
        valid = (target > 0) & (target <= self.max_depth)
        goal = self._normalised(target[valid] / self.max_depth)
        error = (self._normalised(depth[valid]) - goal).abs()
        c = self.threshold
        loss = torch.where(error <= c, error, (error.square() + c * c) / (2 * c))
        return mean_over_labels(loss.sum(), valid.sum().to(loss.dtype))
