"""Inverse Huber (berHu) for depth."""

from __future__ import annotations

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
    """

    def __init__(self, threshold: float = 0.1, max_depth: float = 80.0) -> None:
        super().__init__()
        self.threshold = threshold
        self.max_depth = max_depth

    def forward(self, depth: Tensor, target: Tensor) -> TaskLoss:
        """Scores one batch.

        Args:
            depth: (N, 1, h, w), a fraction of `max_depth`; brought to the target's resolution bilinearly.
            target: (N, H, W) metres, 0 where there is no measurement.
        """
        depth = resize(depth.float(), (target.shape[-2], target.shape[-1])).squeeze(1)
        valid = (target > 0) & (target <= self.max_depth)
        error = (depth[valid] - target[valid] / self.max_depth).abs()
        c = self.threshold
        loss = torch.where(error <= c, error, (error.square() + c * c) / (2 * c))
        return mean_over_labels(loss.sum(), valid.sum().to(loss.dtype))
