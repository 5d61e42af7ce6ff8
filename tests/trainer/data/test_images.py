from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from safetrip_trainer.data.images import encode_png, probe_image, read_gray, read_image
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import write_image


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_probe_knows_the_size_without_decoding(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"a{suffix}", width=70, height=31)
    info = probe_image(path.read_bytes(), path)
    assert (info.width, info.height, info.bit_depth) == (70, 31, 8)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_image_is_an_error_that_names_it(tmp_path: Path, suffix: str, share: float) -> None:
    path = write_image(tmp_path / f"cut{suffix}", width=90, height=90)
    data = path.read_bytes()
    path.write_bytes(data[: max(int(len(data) * share), 1)])
    with pytest.raises(DatasetError, match=rf"cut\{suffix}: .*(truncated|damaged|neither)"):
        read_image(path)


def test_a_flipped_bit_in_a_png_is_found(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged PNG"):
        read_image(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg")
    before = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 700)
    np.testing.assert_array_equal(read_image(path), before)


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"", "empty file"), (b"GIF89a....", "neither JPEG nor PNG")]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DatasetError, match=complaint):
        read_image(tmp_path / "a.jpg")


def test_a_missing_image_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jpg: cannot be read"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("min_size", "expected"),
    [
        (None, (160, 240)),
        ((160, 240), (160, 240)),
        ((80, 120), (80, 120)),
        ((41, 10), (80, 120)),
        ((20, 30), (20, 30)),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_may_be(
    tmp_path: Path, min_size: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    path = write_image(tmp_path / "a.jpg", width=240, height=160)
    assert read_image(path, min_size).shape == (*expected, 3)


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    """Polygons count stored pixels: a rotated decode would put every label in the wrong place."""
    path = write_image(tmp_path / "a.jpg", width=60, height=20)
    data = path.read_bytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert cv2.imread(str(path)).shape[:2] == (60, 20)
    assert read_image(path).shape[:2] == (20, 60)


def test_gray_insists_on_its_dtype(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    (tmp_path / "a.png").write_bytes(encode_png(image))
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png", np.uint16), image)
    with pytest.raises(DatasetError, match=r"uint16, expected one channel of uint8"):
        read_gray(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"3 channel"):
        read_gray(write_image(tmp_path / "color.png"))
