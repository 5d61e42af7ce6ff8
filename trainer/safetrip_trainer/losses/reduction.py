"""The mean over labelled pixels of the whole global batch, however it is spread over processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["TaskLoss", "mean_over_labels"]


class TaskLoss(NamedTuple):
    """One task's loss in one batch."""

    value: Tensor
    """Mean over the labelled pixels; 0, with zero gradient, where there are none."""
    present: Tensor
    """1.0 where any pixel had this task's label, else 0.0."""


def mean_over_labels(total: Tensor, weight: Tensor) -> TaskLoss:
    """`total / weight`, where both are sums over this process's pixels.

    Processes may hold different numbers of labelled pixels. Their weights are summed, and each process's
    share is scaled so that DDP's average of gradients is the gradient of the global mean.

    Args:
        total: scalar, the weighted sum of the pixels' losses.
        weight: scalar, the sum of the weights; 0 where no pixel is labelled.
    """
    weight = weight.detach().clone()
    processes = 1
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(weight)
        processes = dist.get_world_size()
    present = (weight > 0).to(total.dtype)
    return TaskLoss(total * processes / torch.where(weight > 0, weight, torch.ones_like(weight)), present)
