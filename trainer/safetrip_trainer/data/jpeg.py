"""JPEG by libjpeg-turbo, which says where a file's content is damaged; OpenCV fills such parts with grey."""

from __future__ import annotations

import numpy as np
from simplejpeg import decode_jpeg, decode_jpeg_header

from safetrip_trainer.errors import DatasetError

__all__ = ["JPEG_MAGIC", "decode_reduced"]

JPEG_MAGIC = b"\xff\xd8"

# libjpeg's warnings that mean lost pixels (its jerror.h); others do not: many cameras leave bytes before a
# marker.
_DAMAGE = ("premature end", "bad huffman code", "instead of rst")


def decode_reduced(data: bytes | memoryview, name: str, factor: int) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR, divided by `factor` (1, 2, 4, 8; sizes round up) while it is decoded.

    None where the file is another kind of JPEG than it takes: OpenCV says what it makes of it. DatasetError
    naming `name` where a part of the pixels is lost.
    """
    try:
        height, width = decode_jpeg_header(data)[:2]
        least = (-(-height // factor), -(-width // factor)) if factor > 1 else (0, 0)
        pixels: np.ndarray = decode_jpeg(data, colorspace="BGR", min_height=least[0], min_width=least[1])
    except ValueError as error:
        if any(words in str(error).lower() for words in _DAMAGE):
            raise DatasetError(f"{name}: damaged JPEG ({error}); copy the file again") from error
        return None
    return pixels
