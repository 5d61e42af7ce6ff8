"""A sample as it was read, before anything random happens to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from safetrip_trainer.data.i420 import I420

__all__ = ["Planes"]


class Planes(NamedTuple):
    """A sample as it was read: `image` (H, W, 3) uint8 BGR, or as the cache keeps it; `labels` (h, w) uint8,
    255 unlabelled, or None; `depth` (h, w) float32 metres, 0 where there is no measurement, or None;
    `confidence` (h, w) uint8 in the labels, 255 = certain, or None where it does not matter.

    The planes show the same view, at whatever resolution each.
    """

    image: np.ndarray | I420
    labels: np.ndarray | None = None
    depth: np.ndarray | None = None
    confidence: np.ndarray | None = None

    @property
    def bgr(self) -> np.ndarray:
        """(H, W, 3) uint8, whatever `image` is."""
        return self.image.bgr() if isinstance(self.image, I420) else self.image
