"""YCbCr 4:2:0 images, as a JPEG also has them: half of RGB's bytes, and of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["I420", "halves"]


def halves(size: tuple[int, int]) -> bool:
    """Whether both sides of (h, w) are even, as 4:2:0 needs them."""
    return size[0] % 2 == 0 and size[1] % 2 == 0


def _whole(plane: np.ndarray) -> np.ndarray:
    return plane


@dataclass(frozen=True, eq=False)
class I420:
    """`stacked` (3/2 H, W) uint8, H and W even, as OpenCV lays it out: the luma's rows, then those of both
    chromas, (H/2, W/2) each.
    """

    stacked: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> I420:
        """From (H, W, 3) uint8 BGR."""
        return cls(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.stacked.shape[0] * 2 // 3, self.stacked.shape[1]

    def bgr(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return cv2.cvtColor(self.stacked, cv2.COLOR_YUV2BGR_I420)

    def planes(self) -> list[np.ndarray]:
        """Views of the luma (H, W) and of both chromas (H/2, W/2)."""
        height, width = self.shape
        flat, area = self.stacked.reshape(-1), height * width
        half = (height // 2, width // 2)
        return [
            flat[:area].reshape(height, width),
            flat[area : area * 5 // 4].reshape(half),
            flat[area * 5 // 4 :].reshape(half),
        ]

    def resized(self, size: tuple[int, int], cut: Callable[[np.ndarray], np.ndarray] = _whole) -> I420:
        """What `cut` takes of each plane, brought to `size` (h, w), both even.

        Three planes cost less than the interleaved image: half of the values, in whole vectors.
        """
        small = I420(np.empty((size[0] * 3 // 2, size[1]), np.uint8))
        for plane, place in zip(self.planes(), small.planes()):
            cv2.resize(cut(plane), place.shape[::-1], dst=place, interpolation=cv2.INTER_LINEAR)
        return small
