"""Task heads: a grouped 1x1 convolution, ReLU6 and a 3x3 convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["DepthHead", "LogDepthHead", "TaskHead"]


class TaskHead(nn.Module):
    """(N, channels, h/4, w/4) to (N, outputs, h/4, w/4), without a final activation."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.pre = nn.Conv2d(channels, channels, kernel_size=1, groups=channels, bias=False)
        self.activation = nn.ReLU6()
        self.out = nn.Conv2d(channels, outputs, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.activation(self.pre(x)))


class DepthHead(TaskHead):
    """Depth as a fraction of the maximum depth, (N, 1, h/4, w/4) in 0..1, through a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, outputs=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))

    @staticmethod
    def raw(fraction: float) -> float:
        """What the convolution must say for this fraction."""
        return math.log(fraction / (1 - fraction))


class LogDepthHead(TaskHead):
    """Depth as a fraction of the maximum depth, (N, 1, h/4, w/4), evenly spread over its logarithm.

    `lowest^(1 - sigmoid(x))`: a step of x is a ratio of distances, so near depths get as much of the range
    as far ones.

    Args:
        channels: of the decoder.
        lowest: the smallest fraction; the largest is 1.
    """

    def __init__(self, channels: int, lowest: float) -> None:
        super().__init__(channels, outputs=1)
        self.log_lowest = math.log(lowest)

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp((1 - torch.sigmoid(super().forward(x))) * self.log_lowest)

    def raw(self, fraction: float) -> float:
        """What the convolution must say for this fraction."""
        share = 1 - math.log(fraction) / self.log_lowest
        return math.log(share / (1 - share))
