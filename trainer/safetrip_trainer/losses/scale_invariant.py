"""Scale-invariant error of log depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.model.preprocess import resize

__all__ = ["ScaleInvariantLoss", "log_error"]

# A tenth of a millimetre at 80 m: below any depth, and its logarithm is finite.
_SMALLEST = 1e-6


def log_error(depth: Tensor, target: Tensor, max_depth: float) -> tuple[Tensor, Tensor]:
    """`log(depth / target)`, 0 where there is no measurement, and where there is one.

    Args:
        depth: (N, 1, h, w), a fraction of `max_depth`; brought to the target's resolution bilinearly.
        target: (N, H, W) metres, 0 where there is no measurement.
        max_depth: metres; deeper pixels have no valid target.

    Returns:
        (N, H, W) float32 and (N, H, W) bool.
    """
    depth = resize(depth.float(), (target.shape[-2], target.shape[-1])).squeeze(1)
    valid = (target > 0) & (target <= max_depth)
    goal = torch.where(valid, target / max_depth, torch.ones_like(target))
    error = depth.clamp(min=_SMALLEST).log() - goal.log()
    return torch.where(valid, error, torch.zeros_like(error)), valid


class ScaleInvariantLoss(nn.Module):
    """`mean(d^2) - lambda mean(d)^2` of each image, d = log(depth / target) (Eigen et al., arXiv 1406.2283).

    Args:
        share: lambda; 1 ignores an image's overall scale, 0 is the plain squared error of log depth.
        max_depth: metres; deeper pixels have no valid target.
    """

    def __init__(self, share: float = 0.5, max_depth: float = 80.0) -> None:
        super().__init__()
        self.share = share
        self.max_depth = max_depth

    def forward(self, depth: Tensor, target: Tensor) -> TaskLoss:
        """Scores one batch: the mean over the images that have depth; arguments as `log_error`'s."""
        error, valid = log_error(depth, target, self.max_depth)
        pixels = valid.sum((1, 2)).to(error.dtype)
        some = pixels.clamp(min=1)
        images = error.square().sum((1, 2)) / some - self.share * (error.sum((1, 2)) / some).square()
        return mean_over_labels(images.sum(), (pixels > 0).sum().to(error.dtype))
