"""What happens to a frame before the net: one definition for training, evaluation and the deploy graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalize", "resize"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half-pixel centres, no antialias.

    Args:
        image: (N, C, H, W) floating point.
        size: (h, w) of the result.
    """
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=False)


def normalize(image: Tensor) -> Tensor:
    """RGB in 0..255, (N, 3, h, w) floating point, to ImageNet's zero mean and unit variance."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=image.dtype, device=image.device).view(1, 3, 1, 1) * 255.0
    std = torch.tensor(IMAGENET_STD, dtype=image.dtype, device=image.device).view(1, 3, 1, 1) * 255.0
    return (image - mean) / std
