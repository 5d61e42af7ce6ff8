"""Live sources: a real MJPEG server that dies, hangs, comes back and changes its mind about the size."""

from __future__ import annotations

import http.server
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import FrameSource, Runtime, open_source
from safetrip_sdk.errors import BackendUnavailableError, FrameSizeError, SourceError
from safetrip_sdk.sources.live import LiveSource
from tests.sdk.scripted import ScriptedBackend

SIZE = (96, 128)


class MjpegServer:
    """multipart/x-mixed-replace on localhost; frame n has the value n % 200. Can be killed and restarted."""

    def __init__(self) -> None:
        self.size = SIZE
        self.silent = False
        self.port = 0
        self._server: http.server.ThreadingHTTPServer | None = None
        self._alive = threading.Event()

    def start(self) -> None:
        outer, alive = self, threading.Event()
        self._alive = alive
        alive.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                try:
                    while alive.is_set():
                        if not outer.silent:
                            image = np.full((*outer.size, 3), number % 200, np.uint8)
                            data = cv2.imencode(".jpg", image)[1].tobytes()
                            head = (
                                f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                            )
                            self.wfile.write(head.encode() + data + b"\r\n")
                            number += 1
                        time.sleep(0.02)
                except OSError:
                    pass
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        self._alive.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    server = MjpegServer()
    server.start()
    yield server
    server.kill()


def read(source: FrameSource, size: tuple[int, int] = SIZE) -> int:
    out = np.zeros((*size, 3), np.uint8)
    assert source.read_into(out) is not None
    return int(out[0, 0, 0])


def read_on(source: FrameSource) -> None:
    """Until something happens; frames that were under way come first."""
    for _ in range(100):
        read(source)


def test_frames_come_and_are_fresh(server: MjpegServer) -> None:
    with open_source(server.uri) as source:
        assert isinstance(source, LiveSource)
        assert source.live
        assert source.frame_size == SIZE
        first = read(source)
        time.sleep(0.5)  # some 20 frames pass that nobody takes
        before = time.monotonic_ns()
        out = np.zeros((*SIZE, 3), np.uint8)
        captured = source.read_into(out)
        assert captured is not None
        assert captured >= before, "a frame that comes now, not one that waited"
        assert int(out[0, 0, 0]) > first + 5
        assert source.stats().frames == 2
    source.close()


def test_a_server_that_dies_and_comes_back(server: MjpegServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with open_source(server.uri + "#stall=1&give_up=20") as source:
        read(source)
        server.kill()
        threading.Timer(0.7, server.start).start()
        for _ in range(10):
            read(source)
        stats = source.stats()
    assert stats.reconnects == 1
    assert stats.last_error
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "lost after" in said
    assert "open again after" in said


def test_a_server_that_stays_away(server: MjpegServer) -> None:
    with open_source(server.uri + "#stall=0.5&give_up=1.5") as source:
        read(source)
        server.kill()
        with pytest.raises(SourceError, match=r"camera gone: no frame for \d+ s .*is it plugged in"):
            read_on(source)
    with pytest.raises(SourceError, match="cannot be opened; does the server run"):
        open_source(server.uri + "#give_up=0.5")


def test_a_server_that_falls_silent_is_left_behind(server: MjpegServer) -> None:
    with open_source(server.uri + "#stall=0.6&give_up=20") as source:
        read(source)
        server.silent = True
        threading.Timer(1.2, setattr, (server, "silent", False)).start()
        for _ in range(5):
            read(source)
        assert source.stats().reconnects >= 1


def test_another_size_after_a_loss_is_said_and_followed(server: MjpegServer) -> None:
    with open_source(server.uri + "#stall=1&give_up=20") as source:
        read(source)
        server.kill()
        server.size = (48, 64)
        server.start()
        with pytest.raises(FrameSizeError, match="is 48x64") as caught:
            read_on(source)
        assert caught.value.size == (48, 64) == source.frame_size
        read(source, (48, 64))


def test_a_stream_follows_the_size(server: MjpegServer) -> None:
    """Through the runtime: reopened for the new size, with no frame's result under a wrong one."""
    opened: list[tuple[int, int]] = []

    def opener(size: tuple[int, int]) -> ScriptedBackend:
        opened.append(size)
        backend = ScriptedBackend()
        backend.spec = backend.spec._replace(frame=backend.spec.frame._replace(shape=(1, *size, 3)))
        backend.make_slot = lambda: _slot(backend, size)  # type: ignore[method-assign]
        return backend

    def _slot(backend: ScriptedBackend, size: tuple[int, int]) -> Any:
        slot = ScriptedBackend.make_slot(backend)
        slot.frame = slot.used = np.zeros((*size, 3), np.uint8)
        return slot

    with Runtime.over(opener, tuple("abc")) as runtime, open_source(server.uri + "#stall=1") as source:
        for taken, _ in enumerate(runtime.stream(source, follow_size=True), 1):
            if taken == 3:
                server.kill()
                server.size = (48, 64)
                server.start()
            if len(opened) == 2 and taken > 5:
                break
    assert opened == [SIZE, (48, 64)]


class FakeCapture:
    """Stands for what cannot happen here: a driver that hangs in grab(), or decodes nonsense."""

    def __init__(self) -> None:
        self.hang = threading.Event()
        self.damaged = 0
        self.released = 0
        self.grabbed = 0

    def grab(self) -> bool:
        time.sleep(0.002)
        while self.hang.is_set():
            time.sleep(0.01)
        self.grabbed += 1
        return True

    def retrieve(self, out: NDArray[np.uint8] | None = None) -> tuple[bool, Any]:
        if self.damaged:
            self.damaged -= 1
            return False, None
        assert not self.released, "never decoded after it was let go"
        return True, np.full((4, 6, 3), self.grabbed % 250, np.uint8)

    def release(self) -> None:
        self.released += 1


def test_a_driver_that_hangs_is_left_behind_and_let_go_later() -> None:
    made: list[FakeCapture] = []

    def opener() -> FakeCapture:
        made.append(FakeCapture())
        return made[-1]

    with LiveSource("camera", opener, stall_after=0.6, give_up_after=20) as source:
        read(source, (4, 6))
        made[0].hang.set()
        for _ in range(5):
            read(source, (4, 6))
        stats = source.stats()
        assert (stats.stalls, stats.reconnects) == (1, 1)
        made[1].hang.set()  # and once more: it is not the first time only that counts
        for _ in range(5):
            read(source, (4, 6))
        assert source.stats().stalls == 2
        made[0].hang.clear()
        made[1].hang.clear()
    deadline = time.monotonic() + 5
    while [item.released for item in made] != [1, 1, 1]:
        assert time.monotonic() < deadline, "each is let go exactly once"
        time.sleep(0.01)


def test_frames_that_cannot_be_decoded_are_passed_over() -> None:
    capture = FakeCapture()
    with LiveSource("camera", lambda: capture) as source:
        capture.damaged = 2
        read(source, (4, 6))
        assert source.stats().damaged == 2
        assert source.stats().frames == 1
        source.grab()  # and never retrieved
        source.grab()
        read(source, (4, 6))


def test_who_takes_his_time_is_not_told_that_the_camera_hangs() -> None:
    capture = FakeCapture()
    with LiveSource("camera", lambda: capture, stall_after=0.5, give_up_after=0.6) as source:
        out = np.zeros((4, 6, 3), np.uint8)
        for _ in range(2):
            source.grab()
            time.sleep(0.7)
            source.retrieve(out)
            source.grab()
            time.sleep(0.7)  # and never retrieved
        time.sleep(0.7)
        source.grab()
        assert source.stats().stalls == 0


def test_any_error_while_opening_again_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetrip_sdk.sources.live._PAUSES", (0.01, 0.02))  # the last one from then on
    first, second = FakeCapture(), FakeCapture()
    answers: list[object] = [first, *[RuntimeError("not what was expected")] * 4, second]

    def opener() -> FakeCapture:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, FakeCapture)
        return answer

    with LiveSource("camera", opener, stall_after=5, give_up_after=10) as source:
        read(source, (4, 6))
        first.grab = lambda: False  # type: ignore[method-assign]
        read_on_small(source)
        assert source.stats().reconnects == 1


def read_on_small(source: FrameSource) -> None:
    for _ in range(3):
        read(source, (4, 6))


def test_a_camera_that_comes_later_is_waited_for(
    server: MjpegServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    threading.Timer(1.0, server.start).start()
    with open_source(server.uri + "#give_up=0") as source:
        assert source.frame_size == SIZE
        read(source)
        stats = source.stats()
    assert (stats.frames, stats.reconnects, stats.stalls) == (1, 0, 0)
    said = caplog.text
    assert "no frame yet: " in said
    assert "does the server run" in said
    assert "give_up: as long as it takes" in said
    assert "open after" in said


def test_the_first_frame_is_waited_for_as_long_as_give_up_says(server: MjpegServer) -> None:
    server.silent = True  # it answers, and gives nothing
    with pytest.raises(SourceError, match=r"no frame within 0\.6 s: ."):
        open_source(server.uri + "#give_up=0.6&stall=0.4")
    server.kill()
    with pytest.raises(SourceError, match=r"no frame within 0\.6 s: .*does the server run"):
        open_source(server.uri + "#give_up=0.6")


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


def test_what_is_plainly_misnamed_is_said_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "camera").touch()
    with pytest.raises(SourceError, match="is no camera"):
        open_source(f"v4l2://{tmp_path / 'camera'}?give_up=0")
    with pytest.raises(SourceError, match=r"there is no /dev/video98; .*\?give_up=SECONDS waits"):
        open_source("98")
    with pytest.raises(SourceError, match="there is no /nowhere/video0"):
        open_source("v4l2:///nowhere/video0?give_up=0")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(SourceError, match="the server answers 404"):
            open_source(f"http://127.0.0.1:{server.server_address[1]}/typo.mjpg")
        server.shutdown()
    assert "no frame yet" not in caplog.text
    # Who says give_up means that it may be plugged in later.
    with pytest.raises(SourceError, match=r"no frame within .*there is no /dev/video98"):
        open_source("/dev/video98?give_up=0.5")
    assert "no frame yet" in caplog.text


def test_a_driver_that_hangs_before_its_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetrip_sdk.sources.live.FIRST_FRAME_WITHIN", 0.3)
    hanging, well = FakeCapture(), FakeCapture()
    hanging.hang.set()
    captures = [hanging, well]
    with LiveSource("camera", lambda: captures.pop(0), stall_after=0.2, give_up_after=20) as source:
        assert read(source, (4, 6)) > 0
        assert (source.stats().stalls, source.stats().reconnects) == (1, 0)
        hanging.hang.clear()


def test_first_frames_that_cannot_be_decoded() -> None:
    capture = FakeCapture()
    capture.damaged = 3
    with LiveSource("camera", lambda: capture) as source:
        assert source.frame_size == (4, 6)
    capture = FakeCapture()
    capture.damaged = 1_000_000
    with pytest.raises(SourceError, match="cannot be decoded"):
        LiveSource("camera", lambda: capture, give_up_after=0.3)
    assert capture.released == 1


def test_a_missing_library_does_not_come_by_waiting() -> None:
    def opener() -> FakeCapture:
        raise BackendUnavailableError("OpenCV: not installed")

    with pytest.raises(BackendUnavailableError, match="not installed"):
        LiveSource("camera", opener, give_up_after=0)


def test_waiting_for_a_camera_ends_with_an_interrupt(tiny_bundle: Path) -> None:
    words = ["run", str(tiny_bundle), "--source", "/dev/video98?give_up=0"]
    command = [
        sys.executable,
        "-c",
        "import sys; from safetrip_sdk.cli import main; sys.exit(main())",
        *words,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "no frame yet" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said


def test_close_ends_a_waiting_grab() -> None:
    capture = FakeCapture()
    source = LiveSource("camera", lambda: capture)
    capture.hang.set()
    time.sleep(0.05)
    threading.Timer(0.2, source.close).start()
    assert source.grab() is None
    capture.hang.clear()
