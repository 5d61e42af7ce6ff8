"""How PNGs are read and written, against OpenCV."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from safetrip_trainer.data.images import decode_gray, decode_image
from safetrip_trainer.data.png import PNG_MAGIC, checksum, decode_rows, encode_plane, png_chunks
from safetrip_trainer.errors import DatasetError

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=300)
GRAY = arrays.arrays(np.uint8, SHAPES) | arrays.arrays(np.uint16, SHAPES)
NONE, SUB, UP, ALL = (
    [cv2.IMWRITE_PNG_FILTER, kind]
    for kind in (
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_FILTER_SUB,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_ALL_FILTERS,
    )
)


def _written(image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(".png", image, options)
    assert done
    return data.tobytes()


def _noise(shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


@given(GRAY, st.integers(0, 3))
def test_what_it_writes_others_read(plane: np.ndarray, level: int) -> None:
    data = encode_plane(plane, level)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(other, plane)
    ours = decode_rows(data)
    assert ours is not None
    assert ours.dtype == plane.dtype
    np.testing.assert_array_equal(ours, plane)


@pytest.mark.parametrize("options", [NONE, SUB, UP, ALL, []], ids=["none", "sub", "up", "all", "default"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (270, 129), (1, 1, 3), (300, 77, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_reads_what_opencv_writes(shape: tuple[int, ...], dtype: Any, options: list[int]) -> None:
    image = _noise(shape, dtype)
    rows = decode_rows(_written(image, options))
    assert rows is not None
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows if image.ndim == 2 else rows[..., ::-1], image)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("options", [NONE, SUB, UP], ids=["none", "sub", "up"])
def test_a_color_image_is_as_opencv_decodes_it(options: list[int], factor: int) -> None:
    data = _written(_noise((67, 91, 3)), options)
    flag = {1: 1, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), flag[factor])
    np.testing.assert_array_equal(decode_image(data, "a", factor), expected)


def test_what_it_does_not_know_is_left_to_opencv() -> None:
    rgba = _noise((5, 6, 4))
    assert decode_rows(_written(rgba, NONE)) is None
    np.testing.assert_array_equal(decode_image(_written(rgba, NONE), "a"), rgba[..., :3])
    palette = io.BytesIO()
    Image.fromarray(_noise((5, 6, 3))).quantize(4).save(palette, "PNG")
    assert decode_rows(palette.getvalue()) is None
    assert decode_rows(b"") is None
    assert decode_rows(_written(rgba[..., 0], NONE)[:40]) is None


def _png(width: int, height: int, content: bytes, depth: int = 8, methods: bytes = b"\0\0\0") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBB", width, height, depth, 0) + methods
    return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_what_is_not_whole_is_never_taken() -> None:
    rows = b"\0" + bytes(range(4))
    whole = _png(4, 3, zlib.compress(rows * 3))
    assert decode_rows(whole) is not None
    for content in (rows * 2, b"", b"\x09" + bytes(4) + rows * 2):
        assert decode_rows(_png(4, 3, zlib.compress(content))) is None
    for damaged in (zlib.compress(rows * 3)[:-6], b"", b"no stream"):
        assert decode_rows(_png(4, 3, damaged)) is None
    for depth, methods in ((4, b"\0\0\0"), (8, b"\0\0\1"), (8, b"\1\0\0")):
        assert decode_rows(_png(4, 3, zlib.compress(rows * 3), depth, methods)) is None
    for sides in ((1 << 30, 1 << 30), (0, 3), (4, 0)):
        assert decode_rows(_png(*sides, zlib.compress(rows))) is None
    with pytest.raises(DatasetError, match=r"^a: cannot be decoded"):
        decode_gray(_png(4, 3, zlib.compress(rows)), "a")


def test_any_changed_byte_is_noticed() -> None:
    whole = _written(_noise((9, 5)), SUB)
    for place in range(len(whole) - 12):  # no pixel depends on IEND
        changed = bytearray(whole)
        changed[place] ^= 0x40
        assert decode_rows(bytes(changed)) is None, place


@given(st.binary(max_size=80))
def test_no_bytes_break_it(tail: bytes) -> None:
    decode_rows(PNG_MAGIC + tail)
    for name, start, length in png_chunks(PNG_MAGIC + tail):
        assert len(name) == 4
        assert start + length + 4 <= len(PNG_MAGIC + tail)


@given(st.binary())
def test_the_checksum_is_zlibs(data: bytes) -> None:
    assert checksum(data) == zlib.crc32(data)
