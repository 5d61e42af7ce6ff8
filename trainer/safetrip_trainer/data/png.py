"""PNG by the fastest libraries there are, each where it was measured to be: libdeflate inflates in a third of
zlib's time, kornia-rs decodes what lies behind row filters in half of libpng's, ISA-L deflates in a tenth.

Of PNG only what this product's data is made of: 8 and 16 bits, grey or RGB. Anything else is left to OpenCV.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import deflate
import numpy as np
from isal import isal_zlib
from kornia_rs.io import decode_image_png_u8, decode_image_png_u16

__all__ = ["PNG_MAGIC", "checksum", "decode_rows", "encode_plane", "png_chunks"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

_GRAY, _RGB = 0, 2
"""Colour types (PNG specification, table 11.1)."""
_MODES = {_GRAY: "mono", _RGB: "rgb"}
_DECODERS = {8: decode_image_png_u8, 16: decode_image_png_u16}
# Larger ones are OpenCV's to refuse or to read.
_MOST_BYTES = 1 << 28

# The file's first 29 bytes: magic; IHDR's length and name; width, height, bit depth, colour type; the methods
# of compression, filter and interlace.
_HEADER = struct.Struct(">8sI4sIIBBBBB")
# Bytes of a stream in which its first byte is sure to be told: a block's tables are smaller.
_START = 1024

checksum = isal_zlib.crc32
"""zlib's crc32, at a tenth of its time."""


def png_chunks(data: bytes | memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of every chunk's content, up to IEND or the last one that is whole."""
    position, size = len(PNG_MAGIC), len(data)
    while position + 12 <= size:
        length, name = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > size:
            return
        yield name, position + 8, length
        if name == b"IEND":
            return
        position += 12 + length


def encode_plane(plane: np.ndarray, level: int = 1) -> bytes:
    """PNG of an (H, W) uint8 or uint16 plane; `level` 0 to 3, ISA-L's."""
    height, width = plane.shape
    stored = plane if plane.dtype == np.uint8 else plane.astype(">u2")
    rows = np.empty((height, 1 + width * stored.itemsize), np.uint8)
    rows[:, 0] = 0  # no filter
    rows[:, 1:] = np.ascontiguousarray(stored).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 8 * stored.itemsize, 0, 0, 0, 0)
    content = isal_zlib.compress(rows, level)
    return PNG_MAGIC + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum(name + content))


def decode_rows(data: bytes | memoryview) -> np.ndarray | None:
    """(H, W) uint8 or uint16, or (H, W, 3) of them in RGB, which may be a view that cannot be written to.

    None where the file is of another kind, or damaged: checksums are compared, of every chunk or of all
    pixels.
    """
    if len(data) < _HEADER.size:
        return None
    magic, _, name, width, height, depth, kind, *methods = _HEADER.unpack_from(data)
    if magic != PNG_MAGIC or name != b"IHDR" or kind not in _MODES or depth not in _DECODERS or any(methods):
        return None
    row = 1 + width * (3 if kind == _RGB else 1) * depth // 8
    if not width or not 0 < height * row <= _MOST_BYTES:
        return None
    stored = _unfiltered(data, height, row)
    if stored is not None:
        plain = stored if depth == 8 else stored.view(">u2").astype(np.uint16, order="C")
        return np.ascontiguousarray(plain) if kind == _GRAY else plain.reshape(height, width, 3)
    try:
        rows: np.ndarray = _DECODERS[depth](bytes(data), (height, width), _MODES[kind])
    except Exception:  # it raises nothing more exact; OpenCV says what it makes of the file
        return None
    return rows[..., 0] if kind == _GRAY else rows


def _unfiltered(data: bytes | memoryview, height: int, row: int) -> np.ndarray | None:
    """(height, row - 1) uint8 as the file holds them; None where a row lies behind a filter, or on damage."""
    view = memoryview(data)
    parts = [view[start : start + length] for name, start, length in png_chunks(data) if name == b"IDAT"]
    stream = b"".join(parts)
    try:
        # The first row tells, so that hardly a filtered file is inflated for nothing.
        if zlib.decompressobj().decompress(stream[:_START], 1) != b"\0":
            return None
        stored = deflate.zlib_decompress(stream, height * row)
    except (zlib.error, deflate.DeflateError):
        return None
    if len(stored) != height * row:
        return None
    rows = np.frombuffer(stored, np.uint8).reshape(height, row)
    return None if rows[:, 0].any() else rows[:, 1:]
