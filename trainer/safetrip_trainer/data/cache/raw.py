"""Images as they are in memory: a crop of one costs nothing to decode, where a JPEG costs all of it.

An I420 image below the header of a binary PGM, so that any viewer shows the luma.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from safetrip_trainer.data.i420 import I420, halves
from safetrip_trainer.errors import DatasetError

__all__ = ["RAW_SUFFIX", "decode_raw", "encode_raw", "is_raw"]

RAW_SUFFIX = "i420.pgm"

_MAGIC = b"P5\n"
_HEADER = re.compile(rb"P5\n(\d{1,6}) (\d{1,6})\n255\n")


def encode_raw(image: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    """(H, W, 3) uint8 BGR, brought to `size` (h, w), both even; its own size by default.

    Values change by less than a JPEG's of quality 90.
    """
    size = size or (image.shape[0], image.shape[1])
    if image.shape[:2] != size and not halves((image.shape[0], image.shape[1])):
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    whole = I420.of(image)
    kept = whole if whole.shape == size else whole.resized(size)
    return b"".join((b"P5\n%d %d\n255\n" % kept.stacked.shape[::-1], kept.stacked.data))


def is_raw(data: bytes | memoryview) -> bool:
    """Whether `encode_raw` wrote this."""
    return bytes(data[: len(_MAGIC)]) == _MAGIC


def decode_raw(data: bytes | memoryview, name: str) -> I420:
    """A view of what `encode_raw` wrote; DatasetError naming `name` for anything else."""
    header = _HEADER.match(bytes(data[:32]))
    width, height = (int(value) for value in header.groups()) if header else (0, 0)
    start = header.end() if header else 0
    # Rows of 4:2:0 come in sixes: four of luma for one of each chroma, which are half as wide.
    if not width or width % 2 or not height or height % 3 or len(data) - start != width * height:
        raise DatasetError(
            f"{name}: damaged image in the cache; remove the shard, run 'trainer prepare' again"
        )
    return I420(np.frombuffer(data, np.uint8, offset=start).reshape(height, width))
