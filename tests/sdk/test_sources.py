"""Sources: every kind that needs no camera, and one clear error for what cannot be read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import open_source
from safetrip_sdk.errors import BackendUnavailableError, FrameError, FrameSizeError, SourceError
from safetrip_sdk.sources import FrameSource, IterableSource, as_source
from safetrip_sdk.sources.video import VideoSource

SIZE = (48, 64)


def picture(value: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(4):
        cv2.imwrite(str(root / f"{index}.png"), picture(index * 10))
    (root / "notes.txt").write_text("no image")
    return root


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "street.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, SIZE[::-1])
    for index in range(9):
        writer.write(picture(index * 20))
    writer.release()
    return path


def read_all(source: FrameSource) -> list[NDArray[np.uint8]]:
    frames = []
    assert source.frame_size is not None
    with source:
        while True:
            out = np.zeros((*source.frame_size, 3), np.uint8)
            if source.read_into(out) is None:
                return frames
            frames.append(out)


def test_folder_glob_and_single_image(folder: Path) -> None:
    for uri in (str(folder), f"{folder}/*.png", folder):
        values = [int(frame[0, 0, 0]) for frame in read_all(open_source(uri))]
        assert values == [0, 10, 20, 30]
    source = open_source(folder / "2.png")
    assert source.frame_size == SIZE
    assert not source.live
    assert len(read_all(source)) == 1
    assert source.origin.endswith("2.png")


def test_video_file(video: Path) -> None:
    source = open_source(f"file://{video}")
    assert isinstance(source, VideoSource)
    assert source.frame_size == SIZE
    assert source.fps == pytest.approx(12)
    assert source.frame_count == 9
    frames = read_all(source)
    assert [round(float(frame.mean()) / 20) for frame in frames] == list(range(9))
    source.close()


def test_video_decodes_into_the_memory_given(video: Path) -> None:
    """cv2 writes into a fitting array: what makes capture into pinned memory free of copies."""
    capture = cv2.VideoCapture(str(video))
    out = picture(0)
    capture.grab()
    _, image = capture.retrieve(out)
    assert np.shares_memory(image, out)


def test_capture_object_as_a_source(video: Path) -> None:
    source = as_source(cv2.VideoCapture(str(video)))
    assert not source.live
    assert len(read_all(source)) == 9
    with pytest.raises(SourceError, match="cannot be opened"):
        as_source(cv2.VideoCapture("nowhere.avi"))


@pytest.mark.parametrize("damage", ["truncated header", "empty", "text"])
def test_damaged_image_is_named(folder: Path, damage: str) -> None:
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes({"truncated header": data[:20], "empty": b"", "text": b"hello"}[damage])
    source = open_source(folder)
    out = picture(0)
    assert source.read_into(out) is not None
    with pytest.raises(SourceError, match=r"1\.png: damaged"):
        source.read_into(out)
    assert source.read_into(out) is not None
    assert source.origin.endswith("2.png")


def test_image_of_another_size_comes_again(folder: Path) -> None:
    cv2.imwrite(str(folder / "1.png"), picture(99, (20, 30)))
    source = open_source(folder)
    out = picture(0)
    assert source.read_into(out) is not None
    with pytest.raises(FrameSizeError, match=r"1\.png: is 20x30") as caught:
        source.read_into(out)
    assert caught.value.size == (20, 30) == source.frame_size
    small = picture(0, (20, 30))
    assert source.read_into(small) is not None
    assert int(small[0, 0, 0]) == 99


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere.mp4", "no such file"),
        ("/nowhere/*.png", "no images"),
        ("camera://0?zoom=3", "unknown option zoom"),
        ("camera://0?width=wide", "want a whole number"),
        ("synthetic://big", "want synthetic"),
        ("synthetic://64x48?color=1", "unknown option color; there are: fps, frames"),
        ("synthetic://64x48?fps=fast", "no number"),
        ("synthetic://0x48", "size of 1"),
        ("77", "cannot be opened"),
        (77, "^77: cannot be opened: there is no /dev/video77"),
        (-1, "^-1: no such file or folder"),
        (None, "no address of a source: None; give a URI, a path or a camera's number"),
    ],
)
def test_what_cannot_be_opened(uri: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(uri)


def test_a_number_is_a_camera_wherever_a_source_is_asked_for() -> None:
    with pytest.raises(SourceError, match=r"^77: cannot be opened: there is no /dev/video77"):
        as_source(77)


def test_file_that_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(SourceError, match=r"x\.mp4: no image, video or recording"):
        open_source(path)
    with pytest.raises(SourceError, match=r"file://.*x\.mp4\?realtime=1"):
        open_source(f"{path}?realtime=1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no images"):
        open_source(tmp_path / "empty")


def test_without_opencv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(BackendUnavailableError, match="pip install opencv-python"):
        open_source(folder)
    assert len(read_all(open_source("synthetic://64x48?fps=0&frames=2"))) == 2


def test_synthetic_keeps_its_pace_and_skips_like_a_camera() -> None:
    before = time.monotonic_ns()
    source = open_source("synthetic://64x48?fps=100&frames=5")
    assert source.live
    assert source.frame_size == SIZE
    out = picture(0)
    for number in range(1, 6):
        captured = source.read_into(out)
        assert captured is not None
        assert captured - before >= number * 10e6 - 1e5, "no frame comes before its time"
    assert source.read_into(out) is None
    source = open_source("synthetic://64x48?fps=100")
    time.sleep(0.1)
    source.read_into(out)
    assert int(source.origin.split("#")[1]) >= 9, "what nobody took in time is gone"


def test_iterables() -> None:
    frames = [picture(1), picture(2)]
    source = as_source(frames)
    assert isinstance(source, IterableSource)
    assert [int(frame[0, 0, 0]) for frame in read_all(source)] == [1, 2]
    with pytest.raises(SourceError, match="frames: gives no frame"):
        as_source(iter([]))
    with pytest.raises(FrameError, match=r"frames\[0\]: want \(H, W, 3\)"):
        as_source([picture(1)[..., 0]])


def test_an_iterable_that_changes_size_gives_the_frame_again() -> None:
    source = as_source([picture(1), picture(2)[:-1]])
    out = picture(0)
    source.read_into(out)
    with pytest.raises(FrameSizeError, match=r"frames\[1\]"):
        source.read_into(out)
    assert source.frame_size == out[:-1].shape[:2]
    assert source.read_into(smaller := out[:-1]) is not None
    assert smaller[0, 0, 0] == 2
    assert source.read_into(smaller) is None


def test_an_iterable_that_gives_none_does_not_pass_for_ended() -> None:
    source = as_source([picture(1), None, picture(2)])
    out = picture(0)
    source.read_into(out)
    with pytest.raises(FrameError, match=r"frames\[1\]: want a numpy array, not NoneType"):
        source.read_into(out)


def test_camera_that_stops(video: Path) -> None:
    source = VideoSource(cv2.VideoCapture(str(video)), "camera 0", live=True)
    with pytest.raises(SourceError, match="camera 0: camera gone after 9 frames"):
        read_all(source)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.zeros((48, 128, 3), np.uint8)[:, ::2], r"not \(48, 64, 3\) uint8, not C-contiguous"),
        (picture(0)[::-1], "not C-contiguous"),
        (np.zeros((*SIZE, 4), np.uint8)[..., :3], "not C-contiguous"),
        (np.zeros((*SIZE, 3), np.float32), r"not \(48, 64, 3\) float32$"),
        (np.zeros(SIZE, np.uint8), r"not \(48, 64\) uint8$"),
        (np.broadcast_to(np.uint8(0), (*SIZE, 3)), "read-only"),
        ([], "not list$"),
        (None, "not NoneType$"),
    ],
)
def test_what_no_frame_can_be_written_into(folder: Path, video: Path, target: Any, message: str) -> None:
    """The same of every source, before it takes a frame."""
    for uri in (folder, video, "synthetic://64x48?fps=0"):
        with open_source(uri) as source:
            with pytest.raises(FrameError, match=message) as caught:
                source.read_into(target)
            assert "want an array like numpy.empty((48, 64, 3), numpy.uint8)" in str(caught.value)
            assert source.origin == "", "no frame is lost"
