from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from safetrip_trainer.data.images import decode_image
from safetrip_trainer.data.jpeg import decode_reduced
from safetrip_trainer.errors import DatasetError

REDUCED = {
    1: cv2.IMREAD_COLOR_BGR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
END = b"\xff\xd9"


def jpeg(height: int = 64, width: int = 96, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    factor=st.sampled_from([1, 2, 4, 8]),
    mode=st.sampled_from(["RGB", "L"]),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
)
def test_pixels_are_opencvs(
    height: int, width: int, factor: int, mode: str, subsampling: int, progressive: bool
) -> None:
    data = jpeg(height, width, mode, subsampling=subsampling, progressive=progressive)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[factor])
    pixels = decode_reduced(memoryview(data), "x.jpg", factor)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_scan_that_stops_is_damage_although_the_file_ends_as_it_should(factor: int) -> None:
    data = jpeg()
    cut = data[: len(data) // 2] + END
    assert cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_COLOR_BGR) is not None  # with grey below
    with pytest.raises(DatasetError, match=r"x\.jpg: damaged JPEG .*premature end.*copy the file again"):
        decode_image(cut, "x.jpg", factor)


def test_codes_that_are_none_and_rows_that_are_missing_are_damage() -> None:
    data = jpeg()
    middle = len(data) // 2
    # Ones alone are no code in any table; of restart markers the second follows on the first.
    wrong = data[:middle] + b"\xff\0" * 16 + data[middle:]
    rows = jpeg(restart_marker_rows=1)
    missing = rows[: rows.index(b"\xff\xd1")] + rows[rows.index(b"\xff\xd2") :]
    for damaged, why in ((wrong, "bad Huffman code"), (missing, "instead of RST1")):
        with pytest.raises(DatasetError, match=rf"x\.jpg: damaged JPEG .*{why}.*copy the file again"):
            decode_image(damaged, "x.jpg")


def test_bytes_before_the_last_marker_are_no_damage() -> None:
    data = jpeg()
    padded = data.removesuffix(END) + b"\0\0\0" + END
    np.testing.assert_array_equal(decode_image(padded, "x.jpg"), decode_image(data, "x.jpg"))


def test_four_colours_are_read_too() -> None:
    data = jpeg(mode="CMYK")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_BGR)
    np.testing.assert_array_equal(decode_image(data, "x.jpg"), expected)
