"""Rounding to INT8 in the forward pass, gradients as if there were none in the backward pass.

The numbers are those of the exported graph: the same grid, the same scales as FP16 holds them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from safetrip_calibration.int8 import LEVELS, MIN_SCALE

__all__ = ["ActivationQuantizer", "quantize_weight", "round_to_half"]

_LOWEST, _HIGHEST = -128, 127  # what QuantizeLinear saturates to


def round_to_half(scale: Tensor) -> Tensor:
    """The scale as FP16 holds it, in float32; gradients pass unchanged."""
    floored = scale.clamp_min(MIN_SCALE)
    return floored + (floored.detach().half().float() - floored.detach())


class _Round(torch.autograd.Function):
    """clamp(round(x / s)) * s, with the gradients of learned step size quantisation.

    Esser et al. 2020, "Learned Step Size Quantization" (arXiv 1902.08153), equations 1 to 3: x gets the
    gradient where it was not clipped; s gets round(x/s) - x/s there and the clip level elsewhere.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return (x / scale).round_().clamp_(_LOWEST, _HIGHEST).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        steps = x / scale
        inside = (steps >= _LOWEST) & (steps <= _HIGHEST)
        off_grid = torch.where(inside, steps.round() - steps, steps.clamp(_LOWEST, _HIGHEST))
        return gradient * inside, (gradient * off_grid).sum().reshape(scale.shape)


class ActivationQuantizer(nn.Module):
    """One tensor on an INT8 grid, one learned scale.

    Its logarithm is the parameter, so that one learning rate moves all scales by the same proportion and none
    leaves the positive numbers (Jain et al. 2020, "Trained Quantization Thresholds", arXiv 1903.08066, 3.3).

    Args:
        scale: step of the grid to start from, of the calibration; above 0.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    @property
    def scale(self) -> Tensor:
        """() step of the grid."""
        return self.log_scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = _Round.apply(x, round_to_half(self.scale))
        return rounded


def quantize_weight(weight: Tensor) -> Tensor:
    """(O, ...) float32 on a symmetric INT8 grid for each output channel, that of `int8.quantize_weights`."""
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    scales = round_to_half(largest / LEVELS)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    # No gradient to the scales: they follow the largest weight of each channel.
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -LEVELS, LEVELS)
