"""A sample that was checked, with what was read to check it: nothing is read or rasterised twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safetrip_trainer.data.images import ImageInfo
from safetrip_trainer.data.index import Sample

__all__ = ["Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """`data`: the image file's content; `mask` (H, W) uint8 class ids, 255 unlabelled; `depth` (H, W) uint16
    as its file holds it (see `Sample.to_metres`); `confidence` (H, W) uint8. None: there is no such plane.
    """

    sample: Sample
    info: ImageInfo
    data: bytes
    mask: np.ndarray | None = None
    depth: np.ndarray | None = None
    confidence: np.ndarray | None = None
