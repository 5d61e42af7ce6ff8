"""Images as they are in memory: a crop of one costs nothing to decode, where a JPEG costs all of it.

YCbCr 4:2:0 as a JPEG also has it (half of RGB's bytes), as OpenCV lays it out (I420: the luma's rows, then
those of both chromas at half size), below the header of a binary PGM, so that any viewer shows the luma.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from safetrip_trainer.errors import DatasetError

__all__ = ["RAW_SUFFIX", "can_be_raw", "decode_raw", "encode_raw", "is_raw"]

RAW_SUFFIX = "i420.pgm"

_MAGIC = b"P5\n"
_HEADER = re.compile(rb"P5\n(\d{1,6}) (\d{1,6})\n255\n")


def can_be_raw(size: tuple[int, int]) -> bool:
    """Whether (h, w) halves."""
    return size[0] % 2 == 0 and size[1] % 2 == 0


def encode_raw(image: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    """(H, W, 3) uint8 BGR, brought to `size` (h, w), both even; its own size by default.

    Values change by less than a JPEG's of quality 90.
    """
    size = size or (image.shape[0], image.shape[1])
    if image.shape[:2] != size and not can_be_raw((image.shape[0], image.shape[1])):
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    header = b"P5\n%d %d\n255\n" % (size[1], size[0] * 3 // 2)
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    if image.shape[:2] == size:
        return header + planes.tobytes()
    data = np.empty(len(header) + size[0] * size[1] * 3 // 2, np.uint8)
    data[: len(header)] = np.frombuffer(header, np.uint8)
    small = data[len(header) :].reshape(-1, size[1])
    # Three planes cost less than the interleaved image: half of the values, in whole vectors.
    for plane, place in zip(_views(planes), _views(small)):
        cv2.resize(plane, place.shape[::-1], dst=place, interpolation=cv2.INTER_LINEAR)
    return data.tobytes()


def _views(planes: np.ndarray) -> list[np.ndarray]:
    """I420's three planes, (h, w) and twice (h / 2, w / 2)."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    flat, area = planes.reshape(-1), height * width
    half = (height // 2, width // 2)
    return [
        flat[:area].reshape(height, width),
        flat[area : area * 5 // 4].reshape(half),
        flat[area * 5 // 4 :].reshape(half),
    ]


def is_raw(data: bytes | memoryview) -> bool:
    """Whether `encode_raw` wrote this."""
    return bytes(data[: len(_MAGIC)]) == _MAGIC


def decode_raw(data: bytes | memoryview, name: str) -> np.ndarray:
    """(H, W, 3) uint8 BGR of what `encode_raw` wrote; DatasetError naming `name` for anything else."""
    header = _HEADER.match(bytes(data[:32]))
    width, height = (int(value) for value in header.groups()) if header else (0, 0)
    start = header.end() if header else 0
    # Rows of 4:2:0 come in sixes: four of luma for one of each chroma, which are half as wide.
    if not width or width % 2 or not height or height % 3 or len(data) - start != width * height:
        raise DatasetError(
            f"{name}: damaged image in the cache; remove the shard, run 'trainer prepare' again"
        )
    planes = np.frombuffer(data, np.uint8, offset=start).reshape(height, width)
    return cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
