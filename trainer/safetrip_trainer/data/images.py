"""Image files: size and completeness from their structure, and decoding that names the file at fault.

libjpeg fills the missing part of a truncated file with grey and libpng may return the rows it has, so that
"it decoded" proves nothing. Completeness is read from the container instead, which also costs far less than
decoding: the JPEG's end-of-image marker, the PNG's chunk checksums and IEND.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.data.jpeg import JPEG_MAGIC, decode_reduced
from safetrip_trainer.data.png import PNG_MAGIC, checksum, decode_rows, png_chunks
from safetrip_trainer.errors import DatasetError

__all__ = [
    "ImageInfo",
    "decode_gray",
    "decode_image",
    "encode_jpeg",
    "encode_png",
    "probe_image",
    "read_companion",
    "read_gray",
    "read_image",
    "reduction",
]

_MOST_PIXELS = 1 << 28
"""Beyond any camera; a file of a megabyte can claim a thousand times as many."""
# SOF0..SOF15 hold the size; C4 (Huffman tables), C8 (reserved) and CC (arithmetic coding) are no frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
# OpenCV before 4.12 cannot choose the row filter.
_NO_FILTER = (
    (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE) if hasattr(cv2, "IMWRITE_PNG_FILTER") else ()
)


@dataclass(frozen=True)
class ImageInfo:
    """`width` and `height` in pixels, `bit_depth` per channel, `kind` "jpeg" or "png"; `identity`: bytes that
    are others where the content is another one, to be hashed in its place. A PNG's are its chunks' lengths,
    names and checksums, which have been compared with the content; a JPEG has none and is its own.
    `orientation` is EXIF's, 1 for an image that is shown as it is stored.
    """

    width: int
    height: int
    bit_depth: int
    kind: str
    identity: bytes = field(repr=False)
    orientation: int = 1


def probe_image(data: bytes, path: Path) -> ImageInfo:
    """Size of a complete JPEG or PNG held in `data`; `path` is for the message.

    Raises DatasetError where the file is empty, truncated, damaged, of another format, or beyond 2^28 pixels.
    """
    if data.startswith(JPEG_MAGIC):
        info = _probe_jpeg(data, path)
    elif data.startswith(PNG_MAGIC):
        info = _probe_png(data, path)
    else:
        reason = "empty file" if not data else "neither JPEG nor PNG"
        raise DatasetError(f"{path}: {reason}; replace the file or remove it")
    if info.width * info.height > _MOST_PIXELS:
        raise DatasetError(
            f"{path}: {info.width}x{info.height} is beyond 2^28 pixels; replace the file or remove it"
        )
    return info


def _probe_jpeg(data: bytes, path: Path) -> ImageInfo:
    size: ImageInfo | None = None
    orientation = 1
    position = 2
    while position + 9 < len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            depth, height, width = struct.unpack_from(">BHH", data, position + 4)
            size = ImageInfo(width, height, depth, "jpeg", data)
        if marker == 0xE1 and data.startswith(_EXIF, position + 4):
            end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
            orientation = _orientation(data[position + 4 : end])
        if marker == 0xDA:  # start of scan: entropy-coded data follows, in which FFD9 and FFDA cannot occur
            break
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    if size is None or size.width == 0 or size.height == 0:
        raise DatasetError(f"{path}: damaged JPEG header; copy the file again")
    # Sought from the end: at once in a whole file. A thumbnail's own marker lies before the scan.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise DatasetError(f"{path}: truncated JPEG (no end-of-image marker); copy the file again")
    return size if orientation == 1 else replace(size, orientation=orientation)


def _orientation(exif: bytes) -> int:
    """1 to 8, as EXIF has it; 1 where it says nothing, or nonsense."""
    from PIL import Image  # for the few images that have any

    content = Image.Exif()
    try:
        content.load(exif)
        value = content.get(_ORIENTATION)
    except Exception:  # of damaged metadata Pillow raises whatever its parser meets; the pixels are fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _probe_png(data: bytes, path: Path) -> ImageInfo:
    header: tuple[int, int, int] | None = None
    identity: list[bytes | memoryview] = []
    orientation = 1
    view = memoryview(data)
    for name, start, length in png_chunks(data):
        (stored,) = struct.unpack_from(">I", data, start + length)
        if checksum(view[start - 4 : start + length]) != stored:
            raise DatasetError(f"{path}: damaged PNG (checksum of {name!r} differs); copy the file again")
        identity.append(view[start + length : start + length + 12])  # and the next one's length and name
        if name == b"IHDR":
            header = struct.unpack_from(">IIB", data, start)
        elif name == b"eXIf":
            orientation = _orientation(_EXIF + data[start : start + length])
        elif name == b"IEND" and header is not None:
            return ImageInfo(*header, "png", b"".join(identity), orientation)
    raise DatasetError(f"{path}: truncated PNG (no end-of-image chunk); copy the file again")


def reduction(width: int, height: int, min_size: tuple[int, int] | None) -> int:
    """8, 4, 2 or 1: the largest by which an image can be divided and still be at least `min_size` (h, w)."""
    if min_size is None:
        return 1
    return next(
        (
            factor
            for factor in _REDUCTIONS
            if -(-height // factor) >= min_size[0] and -(-width // factor) >= min_size[1]
        ),
        1,
    )


def read_image(path: Path, min_size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 BGR, as stored: EXIF rotation is not applied, since annotations count stored pixels.

    `min_size` (h, w) lets a JPEG be decoded at 1/2, 1/4 or 1/8, the smallest that is at least so large.
    Raises DatasetError where the file is missing, truncated or damaged.
    """
    data = read_bytes(path)
    info = probe_image(data, path)
    factor = reduction(info.width, info.height, min_size) if info.kind == "jpeg" else 1
    return decode_image(data, str(path), factor)


def decode_image(data: bytes | memoryview, name: str, factor: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 BGR of a file's content, divided by `factor` (1, 2, 4, 8; a JPEG's sizes round up).

    A JPEG is decoded at that scale, which costs less than the whole. DatasetError naming `name` where it
    cannot be decoded.
    """
    if data[: len(JPEG_MAGIC)] == JPEG_MAGIC:
        pixels = decode_reduced(data, name, factor)
        if pixels is not None:
            return pixels
    rows = decode_rows(data)
    if rows is not None and rows.ndim == 3 and rows.dtype == np.uint8:
        if factor > 1:
            height, width = rows.shape[:2]
            # What OpenCV does with a format that has no reduced scale.
            size = (max(width // factor, 1), max(height // factor, 1))
            rows = cv2.resize(rows, size, interpolation=cv2.INTER_LINEAR_EXACT)
        return cv2.cvtColor(rows, cv2.COLOR_RGB2BGR)
    flag = _REDUCTIONS.get(factor, cv2.IMREAD_COLOR_BGR) | cv2.IMREAD_IGNORE_ORIENTATION
    return _decode(data, flag, name)


def _decode(data: bytes | memoryview, flag: int, name: str) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # an empty file, or sizes that it does not take
        image = None
    if image is None:
        raise DatasetError(f"{name}: cannot be decoded; copy the file again")
    return image


def read_gray(path: Path, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """(H, W) of exactly `dtype` (uint8 or uint16), values as stored; DatasetError for anything else."""
    data = read_bytes(path)
    probe_image(data, path)
    return decode_gray(data, str(path), dtype)


def read_companion(path: Path, dtype: type[np.generic], image: ImageInfo) -> tuple[np.ndarray, bytes]:
    """(H, W) of a file that belongs to an image, of exactly its size, and the file's `identity`.

    DatasetError naming `path` as `read_gray` has it, and where the size is another one: told before decoding,
    which takes as much memory as the file claims to have pixels.
    """
    data = read_bytes(path)
    info = probe_image(data, path)
    if (info.width, info.height) != (image.width, image.height):
        raise DatasetError(f"{path}: {info.width}x{info.height}, its image is {image.width}x{image.height}")
    return decode_gray(data, str(path), dtype), info.identity


def decode_gray(data: bytes | memoryview, name: str, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """`read_gray` of a file's content; `name` is for the message."""
    image = decode_rows(data)
    if image is None:
        image = _decode(data, cv2.IMREAD_UNCHANGED, name)
    if image.ndim != 2 or image.dtype != dtype:
        channels = 1 if image.ndim == 2 else image.shape[2]
        raise DatasetError(
            f"{name}: {channels} channel(s) of {image.dtype}, expected one channel of {np.dtype(dtype)}"
        )
    return image


def encode_png(image: np.ndarray, compression: int = 1) -> bytes:
    """PNG bytes of a uint8 or uint16 image, grey or BGR (see `png.encode_plane` for grey ones in bulk).

    Level 1 without row filters: a quarter of the default's time to write, half to read, and label images
    are hardly larger.
    """
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression, *_NO_FILTER])
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape} and dtype {image.dtype}")
    return data.tobytes()


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of an (H, W, 3) uint8 BGR image."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape} and dtype {image.dtype}")
    return data.tobytes()
