"""Files that an HTTP server hands out: they end, and say so when they end too early."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from safetrip_sdk import FrameSource, open_source
from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.network import is_file
from safetrip_sdk.sources.paced import PacedSource
from safetrip_sdk.sources.video import VideoSource

SIZE = (96, 128)


class FileServer(http.server.ThreadingHTTPServer):
    """Hands out `files`; after `good` bytes it stalls, or breaks off, where it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.good: int | None = None
        self.stalls = threading.Event()
        self.over = threading.Event()

    def uri(self, name: str, data: bytes) -> str:
        self.files[f"/{name}"] = data
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        data = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data[: self.server.good])
            if self.server.good is not None and self.server.stalls.is_set():
                self.server.over.wait(30)
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], bytes]:
    """A file's bytes, of its suffix, codec and number of frames, which are noise: nothing is small."""

    def make(suffix: str, codec: str, frames: int) -> bytes:
        path = tmp_path_factory.mktemp("video") / f"street{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 30, SIZE[::-1])
        generator = np.random.default_rng(0)
        for _ in range(frames):
            writer.write(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        writer.release()
        return path.read_bytes()

    return make


def count(source: FrameSource) -> int:
    """Frames until the end, of which there are not many."""
    out = np.zeros((*SIZE, 3), np.uint8)
    for taken in range(1000):
        if source.read_into(out) is None:
            return taken
    raise AssertionError("it does not end")


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".ts", "mpg1"), (".mpg", "PIM1")])
def test_a_video_ends(
    server: FileServer, video: Callable[[str, str, int], bytes], suffix: str, codec: str
) -> None:
    """Those that say no number of frames in their header, too."""
    with open_source(server.uri(f"street{suffix}", video(suffix, codec, 20))) as source:
        assert isinstance(source, VideoSource)
        assert not source.live
        assert count(source) == 20


def test_a_video_whose_index_comes_last_wants_a_server_with_ranges(
    server: FileServer, video: Callable[[str, str, int], bytes]
) -> None:
    with pytest.raises(SourceError, match=r"gives no frame; .*serves no ranges"):
        open_source(server.uri("street.mp4", video(".mp4", "mp4v", 20)))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_is_given_once(server: FileServer, suffix: str) -> None:
    data = cv2.imencode(suffix, np.full((*SIZE, 3), 90, np.uint8))[1].tobytes()
    out = np.zeros((*SIZE, 3), np.uint8)
    with open_source(server.uri(f"photo{suffix}", data)) as source:
        assert not source.live
        assert source.read_into(out) is not None
        assert abs(int(out.min()) - 90) <= 2
        assert source.read_into(out) is None


def test_a_file_at_its_own_pace(server: FileServer, video: Callable[[str, str, int], bytes]) -> None:
    with open_source(server.uri("street.avi", video(".avi", "MJPG", 5)) + "#realtime=1") as source:
        assert isinstance(source, PacedSource)
        assert count(source) == 5


def test_a_server_that_stalls_is_an_error(
    server: FileServer, video: Callable[[str, str, int], bytes]
) -> None:
    data = video(".avi", "MJPG", 100)
    server.good = len(data) // 2
    server.stalls.set()
    with (
        open_source(server.uri("street.avi", data) + "#stall=0.7") as source,
        pytest.raises(SourceError, match=r"the server stalls: no data for 0\.7 s after \d\d frames"),
    ):
        count(source)


def test_a_server_that_breaks_off_is_an_error(
    server: FileServer, video: Callable[[str, str, int], bytes]
) -> None:
    data = video(".avi", "MJPG", 100)
    server.good = len(data) // 2
    with (
        open_source(server.uri("street.avi", data)) as source,
        pytest.raises(SourceError, match=r"breaks off after \d\d frames, its header says 100; does the ser"),
    ):
        count(source)


def test_a_local_file_that_breaks_off_is_a_warning(
    tmp_path: Path, video: Callable[[str, str, int], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """What a power failure left of it is there to be used."""
    caplog.set_level(logging.WARNING)
    data = video(".avi", "MJPG", 100)
    (tmp_path / "whole.avi").write_bytes(data)
    assert count(open_source(tmp_path / "whole.avi")) == 100
    assert caplog.text == ""
    (tmp_path / "half.avi").write_bytes(data[: len(data) // 2])
    assert 30 < count(open_source(tmp_path / "half.avi")) < 70
    assert "breaks off after" in caplog.text
    assert "is it damaged, or still being written?" in caplog.text


def test_what_is_no_video_is_said_at_once(server: FileServer) -> None:
    with pytest.raises(SourceError, match=r"notes\.txt: cannot be opened: no video or picture"):
        open_source(server.uri("notes.txt", b"hello, world"))


@pytest.mark.parametrize("text", [b"#EXTM3U\n#EXT-X-VERSION:3\n", b"\n<?xml?><MPD/>", b"v=0\no=- 0 0 IN\n"])
def test_a_playlist_names_a_stream_and_is_no_file(server: FileServer, text: bytes) -> None:
    assert not is_file(server.uri("live", text))
    assert is_file(server.uri("photo.bmp", b"BM" + text))
