from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from safetrip_trainer.data.images import (
    decode_gray,
    decode_image,
    encode_png,
    probe_image,
    read_companion,
    read_gray,
    read_image,
)
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


# The last is one that only OpenCV decodes.
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA")])
def test_exif_rotation_is_ignored(kind: str, mode: str) -> None:
    """Polygons count stored pixels: a rotated decode would put every label in the wrong place."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 60, 3), np.uint8)
    orientation, file = Image.Exif(), io.BytesIO()
    orientation[0x0112] = 6
    Image.fromarray(pixels).convert(mode).save(file, kind, exif=orientation)
    turned = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR_BGR)
    assert turned.shape[:2] == (60, 20)
    assert decode_image(file.getvalue(), "this one").shape[:2] == (20, 60)
    assert probe_image(file.getvalue(), Path("this one")).orientation == 6


@pytest.mark.parametrize("value", [1, 3, 77])
def test_orientation_is_what_exif_says_where_it_makes_sense(value: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = value
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=exif)
    assert probe_image(file.getvalue(), Path("a.jpg")).orientation == (3 if value == 3 else 1)
    before, _, after = file.getvalue().partition(b"Exif\0\0")
    damaged = before + b"Exif\0\0??" + after[2:]
    assert probe_image(damaged, Path("a.jpg")).orientation == 1


def test_a_thumbnails_end_is_not_the_images(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", width=60, height=20)
    data = path.read_bytes()
    thumbnail = b"Exif\0\0" + data[:40] + b"\xff\xd9"
    whole = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    path.write_bytes(whole)
    assert read_image(path).shape[:2] == (20, 60)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="truncated JPEG"):
        read_image(path)


def test_gray_insists_on_its_dtype(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    (tmp_path / "a.png").write_bytes(encode_png(image))
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png", np.uint16), image)
    with pytest.raises(DatasetError, match=r"uint16, expected one channel of uint8"):
        read_gray(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"3 channel"):
        read_gray(write_image(tmp_path / "color.png"))


def huge_png(path: Path, side: int) -> Path:
    """A sound file that claims `side` by `side` pixels of 16 bits, without the content of that size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("side", [24_000, 40_000, 2**31 - 1])
def test_a_file_that_claims_more_than_any_camera_has_is_not_decoded(tmp_path: Path, side: int) -> None:
    with pytest.raises(DatasetError, match=rf"huge\.png: {side}x{side} is beyond 2\^28 pixels"):
        read_gray(huge_png(tmp_path / "huge.png", side), np.uint16)


def test_what_belongs_to_an_image_is_measured_before_it_takes_memory(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", width=48, height=32)
    info = probe_image(image.read_bytes(), image)
    (tmp_path / "zeros.png").write_bytes(encode_png(np.zeros((5000, 5000), np.uint16)))
    tracemalloc.start()
    with pytest.raises(DatasetError, match=r"zeros\.png: 5000x5000, its image is 48x32"):
        read_companion(tmp_path / "zeros.png", np.uint16, info)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # of the 50 MB that it decodes to


@pytest.mark.parametrize("decode", [decode_image, decode_gray])
def test_what_opencv_raises_names_the_file(
    tmp_path: Path, decode: Callable[[bytes, str], np.ndarray]
) -> None:
    too_large = huge_png(tmp_path / "a.png", 40_000).read_bytes()
    for data in (b"", too_large):
        with pytest.raises(DatasetError, match="this one: cannot be decoded"):
            decode(data, "this one")
