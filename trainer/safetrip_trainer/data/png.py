"""PNG by ISA-L, which inflates in half of zlib's time and deflates in a tenth.

Of PNG only what this product's data is made of: 8 and 16 bits, grey or RGB, rows without a filter or with
"Sub" (the one that OpenCV's writer takes). Anything else is left to OpenCV.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib

__all__ = ["PNG_MAGIC", "checksum", "decode_rows", "encode_plane", "png_chunks"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

_CHANNELS = {0: 1, 2: 3}
"""By colour type: grey, RGB (PNG specification, table 11.1)."""
_DEPTHS = (8, 16)
_SUB = 1
# Larger ones are OpenCV's to refuse or to read.
_MOST_BYTES = 1 << 28
# Rows at a time: what is copied on the way stays small, and numpy's own cost does not count.
_BLOCK = 256

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

    None where the file is of another kind, or damaged: ISA-L compares zlib's checksum of all pixels.
    """
    header, parts = b"", []
    view = memoryview(data)
    for name, start, length in png_chunks(data):
        if name == b"IDAT":
            parts.append(view[start : start + length])
        elif name == b"IHDR":
            header = bytes(view[start : start + length])
        elif name == b"tRNS":  # an alpha channel in disguise
            return None
    if len(header) != 13:
        return None
    width, height, depth, kind, *methods = struct.unpack(">IIBBBBB", header)
    if kind not in _CHANNELS or depth not in _DEPTHS or any(methods) or not width or not height:
        return None
    pixel = _CHANNELS[kind] * depth // 8
    size = height * (1 + width * pixel)
    if size > _MOST_BYTES:
        return None
    stored = _inflated(parts, size)
    rows = None if stored is None else _unfiltered(np.frombuffer(stored, np.uint8).reshape(height, -1), pixel)
    if rows is None:
        return None
    if depth == 16:
        rows = rows.view(">u2").astype(np.uint16, order="C")
    return np.ascontiguousarray(rows) if kind == 0 else rows.reshape(height, width, 3)


def _inflated(parts: list[memoryview], size: int) -> bytes | None:
    """Exactly `size` bytes, or None; never more than that is taken up in memory."""
    inflate = isal_zlib.decompressobj()
    try:
        stored = inflate.decompress(parts[0] if len(parts) == 1 else b"".join(parts), size + 1)
    except isal_zlib.error:  # type: ignore[misc]  # a class; its stub says an instance
        return None
    return stored if len(stored) == size and inflate.eof else None


def _unfiltered(rows: np.ndarray, pixel: int) -> np.ndarray | None:
    """(H, 1 + n) uint8, each row behind its filter's number, to (H, n); None for other filters than Sub."""
    filters = rows[:, 0]
    most = int(filters.max())
    if most == 0:
        return rows[:, 1:]
    if most > _SUB:
        return None
    content = np.ascontiguousarray(rows[:, 1:])
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        _sum_up(block, filters[start : start + _BLOCK], pixel)
    return content


def _sum_up(block: np.ndarray, filters: np.ndarray, pixel: int) -> None:
    """Undo Sub in place: a prefix sum, modulo 256, by steps of 1, 2, 4, ... pixels."""
    chosen = filters == _SUB
    rows = block if chosen.all() else block[chosen]
    step = pixel
    while step < rows.shape[1]:
        rows[:, step:] += rows[:, :-step]
        step *= 2
    if rows is not block:
        block[chosen] = rows
