"""What is asked of cameras that no machine without one has: a stand-in for cv2, which notes every call."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import open_source
from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources import opencv

SIZE = (36, 64)


class FakeCapture:
    """Gives frames of one size, whatever it is asked for."""

    def __init__(self, cv2: FakeCv2, what: str, api: int) -> None:
        self.cv2 = cv2
        self.what = what
        self.api = api
        self.released = False

    def isOpened(self) -> bool:
        return self.cv2.opens

    def set(self, key: str, value: Any) -> bool:
        self.cv2.asked.append((key, value))
        return True

    def get(self, key: str) -> float:
        return {"width": SIZE[1], "height": SIZE[0], "fps": 30.0}[key]

    def grab(self) -> bool:
        return self.cv2.gives

    def retrieve(self, out: NDArray[np.uint8] | None = None) -> tuple[bool, Any]:
        return True, np.full((*SIZE, 3), 7, np.uint8)

    def release(self) -> None:
        self.released = True


class FakeCv2(SimpleNamespace):
    """cv2 as far as cameras go."""

    __version__ = "4.5.4"
    CAP_V4L2, CAP_GSTREAMER = 200, 1800
    CAP_PROP_BUFFERSIZE, CAP_PROP_FOURCC = "buffers", "format"
    CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS = "width", "height", "fps"

    def __init__(self) -> None:
        super().__init__()
        self.opens = self.gives = True
        self.asked: list[tuple[str, Any]] = []
        self.captures: list[FakeCapture] = []
        self.videoio_registry = SimpleNamespace(hasBackend=lambda api: True)

    def VideoCapture(self, what: str, api: int) -> FakeCapture:
        self.captures.append(FakeCapture(self, what, api))
        return self.captures[-1]

    @staticmethod
    def VideoWriter_fourcc(*letters: str) -> str:
        return "".join(letters)


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch) -> FakeCv2:
    fake = FakeCv2()
    monkeypatch.setattr(opencv, "import_cv2", lambda: fake)
    return fake


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "video0").symlink_to("/dev/null")  # a device
    return tmp_path / "video0"


def test_a_v4l2_camera_is_asked_in_the_right_order(
    cv2: FakeCv2, device: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    uri = f"v4l2://{device}?width=1920&height=36&fps=30&format=mjpg"
    with open_source(uri) as source:
        assert source.frame_size == SIZE, "what it gives, not what it was asked for"
        out = np.zeros((*SIZE, 3), np.uint8)
        assert source.read_into(out) is not None
        assert (out == 7).all()
    assert [capture.api for capture in cv2.captures] == [cv2.CAP_V4L2]
    # The format comes before the size: a driver offers other sizes for each.
    assert cv2.asked == [("buffers", 1), ("format", "MJPG"), ("width", 1920), ("height", 36), ("fps", 30.0)]
    assert "width=1920 was asked for, the driver gives 64" in caplog.text
    assert "height" not in caplog.text


def test_a_camera_that_cannot_be_opened_or_gives_nothing(cv2: FakeCv2, device: Path) -> None:
    cv2.opens = False
    with pytest.raises(SourceError, match=r"no frame within 0\.4 s: .*group video"):
        open_source(f"v4l2://{device}?give_up=0.4")
    cv2.opens, cv2.gives, opened = True, False, len(cv2.captures)
    with pytest.raises(SourceError, match="gives no frame; is it used by another program"):
        open_source(f"v4l2://{device}?give_up=0.4")
    assert opened < len(cv2.captures)
    assert all(capture.released for capture in cv2.captures[opened:]), "none is kept open by an error"
    with pytest.raises(SourceError, match="there is no /dev/video98"):
        open_source("98")


def test_a_csi_camera_goes_through_gstreamer(cv2: FakeCv2) -> None:
    with open_source("csi://1?width=1280&height=720&fps=60&flip=2&stall=2&give_up=0") as source:
        assert source.live
    (capture,) = cv2.captures
    assert capture.api == cv2.CAP_GSTREAMER
    assert capture.what.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=(int)1280")
    cv2.opens = False
    with pytest.raises(SourceError, match="gst-launch"):
        open_source("gst:videotestsrc ! appsink")
