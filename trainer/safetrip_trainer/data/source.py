"""Where a sample's planes come from while training: the tree's own files, or the cache made of them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.data.planes import Planes

__all__ = ["PlaneSource", "TreeSource"]


class PlaneSource(Protocol):
    """Reads a sample: what it has of image, labels and depth."""

    def read(self, sample: Sample, min_confidence: int) -> Planes:
        """Depth less certain than `min_confidence` (0-255) is 0. DatasetError names the file at fault."""
        ...


class TreeSource:
    """Full-size files of the tree and PREPARED's masks.

    Args:
        index: the prepared set.
        decode_size: (h, w) that suffices: larger JPEGs are decoded at a reduced scale. `None`: full size.
    """

    def __init__(self, index: PreparedIndex, decode_size: tuple[int, int] | None = None) -> None:
        self.index = index
        self.decode_size = decode_size

    def read(self, sample: Sample, min_confidence: int) -> Planes:
        depth = self.index.load_depth(sample, min_confidence)
        return Planes(
            self.index.load_image(sample, min_size=self.decode_size),
            self.index.load_mask(sample),
            None if depth is None else np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0),
        )
