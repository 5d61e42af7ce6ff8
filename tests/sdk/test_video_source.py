"""A capture as a source: closed while a thread is at work in it, and ending before its header says."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.video import VideoSource
from tests.sdk.scripted import FRAME, ScriptedBackend, scripted


class SlowCapture:
    """Stands for what cannot be had on command: a server that stalls in the midst of `grab`."""

    def __init__(self, frames: int = 5) -> None:
        self.frames = frames
        self.at_work = threading.Event()
        self.go_on = threading.Event()
        self.log: list[str] = []

    def isOpened(self) -> bool:
        return True

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FRAME_COUNT: 100.0, cv2.CAP_PROP_FPS: 30.0}.get(key, 0.0)

    def grab(self) -> bool:
        self.frames -= 1
        if self.frames < 0:
            self.at_work.set()
            assert self.go_on.wait(20)
            self.log.append("grab ends")
        return True

    def retrieve(self, out: NDArray[np.uint8] | None = None) -> tuple[bool, Any]:
        assert "release" not in self.log
        return True, np.zeros((*FRAME, 3), np.uint8)

    def release(self) -> None:
        self.log.append("release")


def test_close_leaves_the_release_to_the_thread_that_is_at_work() -> None:
    """OpenCV frees what `grab` works in: releasing meanwhile ends the process."""
    capture = SlowCapture(frames=1)
    source = VideoSource(capture, "http://x/street.mp4", live=False)
    source.grab()
    source.retrieve(np.zeros((*FRAME, 3), np.uint8))
    given: list[int | None] = []
    thread = threading.Thread(target=lambda: given.append(source.grab()))
    thread.start()
    assert capture.at_work.wait(10)
    source.close()
    source.close()
    assert capture.log == []
    capture.go_on.set()
    thread.join()
    assert capture.log == ["grab ends", "release"]
    assert source.grab() is None
    with pytest.raises(SourceError, match=r"street\.mp4: closed"):
        source.retrieve(np.zeros((*FRAME, 3), np.uint8))
    assert capture.log.count("release") == 1


def test_a_stream_left_while_its_source_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream waits two seconds for its thread, closes the source, and nothing is freed under `grab`."""
    capture = SlowCapture()
    source = VideoSource(capture, "http://x/street.mp4", live=False)
    monkeypatch.setattr("safetrip_sdk.inference.stream.open_source", lambda uri: source)
    with scripted(ScriptedBackend()) as runtime:
        for number, _ in enumerate(runtime.stream("http://x/street.mp4")):
            if number == 3:
                assert capture.at_work.wait(10)
                break
    assert capture.log == []
    capture.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "safetrip-capture":
            thread.join(10)
    assert capture.log == ["grab ends", "release"]


def test_a_capture_at_rest_is_released_at_once() -> None:
    capture = SlowCapture()
    VideoSource(capture, "camera", live=True).close()
    assert capture.log == ["release"]


def test_closing_is_not_taken_for_a_lost_camera() -> None:
    source = VideoSource(SlowCapture(), "camera", live=True)
    source.grab()
    source.retrieve(np.zeros((*FRAME, 3), np.uint8))
    source.close()
    assert source.grab() is None
