"""Matching of depth gradients: edges where the truth has edges, and none elsewhere."""

from __future__ import annotations

from torch import Tensor, nn

from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.losses.scale_invariant import log_error

__all__ = ["DepthGradientLoss"]


class DepthGradientLoss(nn.Module):
    """`mean(|dx R| + |dy R|)` over scales, R = log(depth / target) (Li and Snavely, arXiv 1804.00607, eq. 3).

    Differences are taken between measured neighbours only, at every pixel and at every second, fourth, ...

    Args:
        scales: how many resolutions, each half of the one before.
        max_depth: metres; deeper pixels have no valid target.
    """

    def __init__(self, scales: int = 4, max_depth: float = 80.0) -> None:
        super().__init__()
        self.scales = scales
        self.max_depth = max_depth

    def forward(self, depth: Tensor, target: Tensor) -> TaskLoss:
        """Scores one batch.

        Args:
            depth: (N, 1, h, w), a fraction of `max_depth`.
            target: (N, H, W) metres, 0 where there is no measurement.
        """
        error, valid = log_error(depth, target, self.max_depth)
        total = count = error.new_zeros(())
        for scale in range(self.scales):
            step = 2**scale
            fine, known = error[:, ::step, ::step], valid[:, ::step, ::step]
            for axis in (1, 2):
                length = fine.shape[axis] - 1
                if length < 1:
                    continue
                pair = known.narrow(axis, 0, length) & known.narrow(axis, 1, length)
                total = total + (fine.diff(dim=axis).abs() * pair).sum()
                count = count + pair.sum()
        return mean_over_labels(total, count)
