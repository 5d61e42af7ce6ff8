"""Colour jitter as one affine map of a pixel's colour.

Brightness, contrast, saturation and hue are each (nearly) affine in RGB, so that all four cost one 3x4 matrix
product a pixel, where a conversion to HSV and back costs more than decoding the image.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["color_matrix"]

_GRAY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma of RGB
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def color_matrix(mean: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A random (3, 4) float64 map of RGB in 0..255 to RGB; the result is to be clipped to 0..255.

    Brightness, contrast and saturation are scaled by 1 - strength to 1 + strength each; hue turns by at most
    strength / 8 of the circle, as a rotation of YIQ's chroma plane (an HSV shift's linear counterpart).

    Args:
        mean: (3,) mean RGB of the image, about whose luma contrast is scaled.
        strength: at least 0.
        rng: gives four numbers.
    """
    draw = rng.uniform(-1.0, 1.0, 4)
    brightness, contrast, saturation = np.maximum(1.0 + strength * draw[:3], 0.0)
    angle = 2.0 * math.pi * min(strength / 8.0, 0.5) * draw[3]
    rotation = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    desaturate = saturation * np.eye(3) + (1.0 - saturation) * np.tile(_GRAY, (3, 1))
    linear = _FROM_YIQ @ rotation @ _TO_YIQ @ desaturate
    # Luma survives saturation and hue, so contrast may be taken about the mean luma first.
    offset = (1.0 - contrast) * brightness * float(_GRAY @ mean) * linear.sum(axis=1)
    return np.column_stack([linear * (brightness * contrast), offset])
