"""Warm-up and cosine decay of the learning rate."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["warmup_cosine"]


def warmup_cosine(optimizer: Optimizer, steps: int, warmup_steps: int, floor: float = 0.01) -> LambdaLR:
    """Linear from 0 to the optimizer's rate, then half a cosine to `floor` times it (arXiv 1608.03983).

    Args:
        optimizer: its groups keep their own peak rates.
        steps: of the whole run.
        warmup_steps: of the linear part; cut to half the run where it is longer.
        floor: share of the peak rate at the end.
    """
    warmup_steps = min(warmup_steps, steps // 2)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)
