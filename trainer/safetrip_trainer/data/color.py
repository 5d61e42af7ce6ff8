"""Colour jitter as one affine map of a pixel's colour.

Brightness, contrast, saturation and hue are each (nearly) affine in RGB, so that all four cost one 3x4 matrix
product a pixel, where a conversion to HSV and back costs more than decoding the image.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["color_matrix"]

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_LUMA = _TO_YIQ[0]
# What a colour's luma, its chroma, and its chroma turned by a quarter of the circle give in RGB.
_GRAY = np.outer(_FROM_YIQ[:, 0], _TO_YIQ[0])
_CHROMA = np.outer(_FROM_YIQ[:, 1], _TO_YIQ[1]) + np.outer(_FROM_YIQ[:, 2], _TO_YIQ[2])
_TURNED = np.outer(_FROM_YIQ[:, 2], _TO_YIQ[1]) - np.outer(_FROM_YIQ[:, 1], _TO_YIQ[2])


def color_matrix(mean: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A random (3, 4) float64 map of RGB in 0..255 to RGB; the result is to be clipped to 0..255.

    Brightness, contrast and saturation are scaled by 1 - strength to 1 + strength each; hue turns by at most
    strength / 8 of the circle, as a rotation of YIQ's chroma plane (an HSV shift's linear counterpart).

    Args:
        mean: (3,) mean RGB of the image, about whose luma contrast is scaled.
        strength: at least 0.
        rng: gives four numbers.
    """
    draw = rng.uniform(-1.0, 1.0, 4).tolist()
    brightness, contrast, saturation = (max(1.0 + strength * value, 0.0) for value in draw[:3])
    angle = 2.0 * math.pi * min(strength / 8.0, 0.5) * draw[3]
    matrix = np.empty((3, 4))
    matrix[:, :3] = _GRAY + saturation * (math.cos(angle) * _CHROMA + math.sin(angle) * _TURNED)
    matrix[:, :3] *= brightness * contrast
    # Luma survives saturation and hue, so contrast may be taken about the mean luma first.
    matrix[:, 3] = (1.0 - contrast) * brightness * float(_LUMA @ mean)
    return matrix
