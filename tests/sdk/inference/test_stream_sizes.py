"""A runtime that is open for one frame size, fed by a source of another: said, and followed where wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import FrameSource, Prediction, Runtime, Timing, open_source
from safetrip_sdk.errors import FrameSizeError
from safetrip_sdk.recording import Recorder
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.scripted import FRAME, ScriptedBackend, numbered, scripted
from tests.sdk.test_live import MjpegServer

SMALL = (48, 64)
IMAGE = np.full((*SMALL, 3), 90, np.uint8)
KINDS = ("iterable", "own", "synthetic", "live synthetic", "images", "video", "live video", "recording")


class OwnCamera(FrameSource):
    """A driver of one's own, which writes its picture into what it is given as it is."""

    def __init__(self) -> None:
        self.name, self.frame_size, self._left = "mine", SMALL, 2

    def grab(self) -> int | None:
        self._left -= 1
        return time.monotonic_ns() if self._left >= 0 else None

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        out[:] = IMAGE


def small_source(kind: str, folder: Path) -> FrameSource | str | list[NDArray[np.uint8]]:
    """Two frames of `SMALL`, from each kind of source."""
    if kind == "iterable":
        return [IMAGE, IMAGE]
    if kind == "own":
        return OwnCamera()
    if kind.endswith("synthetic"):
        return f"synthetic://64x48?frames=2&fps={50 if kind.startswith('live') else 0}"
    if kind == "images":
        for index in range(2):
            cv2.imwrite(str(folder / f"{index}.png"), IMAGE)
        return str(folder)
    if kind == "recording":
        net = np.zeros((4, 6), np.uint8)
        result = Prediction(net, net.astype(np.float32), None, ("a",), 0, 0, Timing(0, 0, 0, 0, 0))
        with Recorder(folder / "run.mcap", "png") as recorder:
            for _ in range(2):
                recorder.write(IMAGE, result)
        return f"mcap://{folder / 'run.mcap'}"
    writer = cv2.VideoWriter(str(folder / "s.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, SMALL[::-1])
    for _ in range(2):
        writer.write(IMAGE)
    writer.release()
    return f"file://{folder / 's.avi'}" + ("?realtime=1" if kind.startswith("live") else "")


@pytest.fixture(scope="module")
def runtime(tiny_bundle: Path) -> Iterator[Runtime]:
    with Runtime(tiny_bundle, backend="onnxruntime", precision="fp32") as runtime:
        yield runtime


def shape(runtime: Runtime) -> tuple[int, ...]:
    assert runtime.backend is not None
    return runtime.backend.spec.frame.shape[1:3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_another_size_is_said_and_followed(kind: str, runtime: Runtime, tmp_path: Path) -> None:
    runtime.reopen(frame_size=FRAME_SIZE)
    runtime(np.zeros((*FRAME_SIZE, 3), np.uint8))
    source = small_source(kind, tmp_path)
    with pytest.raises(FrameSizeError, match=r"48x64 .*open for 96x128.*follow_size=True") as caught:
        list(runtime.stream(source))
    assert caught.value.size == SMALL
    assert runtime.usable
    assert shape(runtime) == FRAME_SIZE
    found = list(runtime.stream(source, follow_size=True))
    assert shape(runtime) == SMALL
    assert 1 <= len(found) <= 2
    if not kind.startswith("live"):
        assert len(found) == 2, "nothing was taken from it before"
    # And a second stream after it on the same runtime, back to the first size.
    back = list(runtime.stream("synthetic://128x96?frames=2&fps=0", follow_size=True))
    assert len(back) == 2
    assert shape(runtime) == FRAME_SIZE


def test_a_live_camera_of_another_size(runtime: Runtime) -> None:
    runtime.reopen(frame_size=FRAME_SIZE)
    server = MjpegServer()
    server.size = SMALL
    server.start()
    try:
        with open_source(server.uri) as source:
            with pytest.raises(FrameSizeError, match="48x64"):
                next(runtime.stream(source))
            next(runtime.stream(source, follow_size=True))
            assert shape(runtime) == SMALL
    finally:
        server.kill()


def test_a_videos_frame_that_does_not_fit_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "s.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, SMALL[::-1])
    for value in (10, 90, 170):
        writer.write(np.full((*SMALL, 3), value, np.uint8))
    writer.release()
    fits = np.zeros((*SMALL, 3), np.uint8)
    values = []
    with open_source(path) as source:
        for _ in range(3):
            with pytest.raises(FrameSizeError, match="is 48x64"):
                source.read_into(np.zeros((*FRAME_SIZE, 3), np.uint8))
            assert source.read_into(fits) is not None
            values.append((int(fits[0, 0, 0]), source.origin))
        assert source.read_into(fits) is None
    assert [(round(value, -1), origin) for value, origin in values] == [
        (value, f"{path}#{index}") for index, value in enumerate((10, 90, 170))
    ]


def test_a_source_is_not_drawn_into_memory_of_another_size() -> None:
    with open_source("synthetic://64x48?fps=0") as source:
        source.grab()
        with pytest.raises(FrameSizeError, match="48x64"):
            source.retrieve(np.zeros((*FRAME_SIZE, 3), np.uint8))


def test_a_backend_of_the_wrong_size_is_not_opened_for_ever() -> None:
    """One of your own that answers every size with the same."""
    with scripted(ScriptedBackend()) as runtime:
        with pytest.raises(FrameSizeError, match=rf"48x64 .*open for {FRAME[0]}x{FRAME[1]}"):
            list(runtime.stream([IMAGE], follow_size=True))
        runtime.reopen(frame_size=FRAME)
        assert runtime(numbered(3)).labels[0, 0] == 3
