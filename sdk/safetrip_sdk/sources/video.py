"""A cv2.VideoCapture as a source of frames: video files, and captures that the caller has opened."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource, SourceStats, other_size
from safetrip_sdk.sources.opencv import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VideoSource"]

log = logging.getLogger(__name__)

MAY_LACK = 1.0
"""Seconds by which a file may be shorter than its header says, a tenth of it at most: some only estimate."""


class _SharedCapture:
    """A capture that one thread may close while another is at work in it.

    OpenCV frees a capture's memory under whoever is in `grab` or `retrieve`, and that ends the process. So
    the last one who leaves releases it. Nobody waits for that: a server that stalls keeps `grab` for long.
    """

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        self._at_work = threading.Lock()
        self.closed = False

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The capture, for as long as it is needed; None when it is closed."""
        try:
            with self._at_work:
                yield None if self.closed else self._capture
        finally:
            if self.closed:
                self.close()

    def close(self) -> None:
        """Release the capture, now or when its user is done; idempotent."""
        self.closed = True
        if self._at_work.acquire(blocking=False):
            try:
                capture, self._capture = self._capture, None
                if capture is not None:
                    capture.release()
            finally:
                self._at_work.release()


class VideoSource(FrameSource):
    """A cv2.VideoCapture as a source, in the caller's thread; decodes straight into the memory it is given.

    Args:
        capture: an open cv2.VideoCapture.
        name: for messages.
        live: a camera: reading nothing is then an error, not the end. (`LiveSource` also comes back.)
        stall_after: of a file that a server hands out, seconds without data after which OpenCV gives up; an
            end that comes too early is then an error. None: a local file, where it is a warning.

    Attributes:
        frame_count: frames in a file, as its header says; None for what has no end.

    Raises:
        SourceError: it is not open, or gives no first frame.
    """

    def __init__(self, capture: Any, name: str, live: bool, stall_after: float | None = None) -> None:
        cv2 = import_cv2()
        self.name = name
        self.live = live
        self._capture = _SharedCapture(capture)
        self._stall_after = stall_after
        self._stalled = False
        self._count = 0
        if not capture.isOpened():
            if not live:
                raise SourceError(f"{name}: no image, video or recording that can be read, or a damaged one")
            raise SourceError(f"{name}: cannot be opened; is it there, readable, and not in use?")
        # Drivers often do not deliver what the properties promise: look at a frame.
        if not self._grab():
            self.close()
            remote = "a server that stalls, or that serves no ranges, which most .mp4 want"
            who = "a camera that another program uses" if stall_after is None else remote
            raise SourceError(f"{name}: gives no frame; damaged file, or {who}?")
        # A frame that is decoded and was not taken: the first, or one of another size than was wanted.
        self._held: NDArray[np.uint8] | None = self._decode(None)
        self.frame_size = self._held.shape[:2]
        self.fps = float(capture.get(cv2.CAP_PROP_FPS) or 0.0)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = None if live or count <= 0 else count

    def _grab(self) -> bool:
        began = time.monotonic()
        with self._capture.use() as capture:
            ok = capture is not None and bool(capture.grab())
        # What came before OpenCV gave up may still make a frame, and the next one is the end.
        if self._stall_after is not None and time.monotonic() - began >= self._stall_after:
            self._stalled = True
        return ok

    def grab(self) -> int | None:
        """Wait for the next frame; None at a file's end, and after `close`.

        Raises:
            SourceError: a live source stopped; a server stalls, or breaks off in the midst of a file.
        """
        if self._held is None and not self._grab():
            if not self._capture.closed:
                self._check_end()
            return None
        self.origin = f"{self.name}#{self._count}"
        self._count += 1
        return time.monotonic_ns()

    def _check_end(self) -> None:
        """SourceError, or a warning, where that no frame comes is not the end of a file."""
        after = f"after {self._count} frames"
        if self.live:
            raise SourceError(f"{self.name}: camera gone {after}; is it plugged in?")
        if self._stalled:
            raise SourceError(f"{self.name}: the server stalls: no data for {self._stall_after:g} s {after}")
        if not self._ends_early():
            return
        broken = f"{self.name}: breaks off {after}, its header says {self.frame_count}"
        if self._stall_after is not None:
            raise SourceError(f"{broken}; does the server still run?")
        log.warning("%s; is it damaged, or still being written?", broken)

    def _ends_early(self) -> bool:
        """Whether the header promised more, in frames and in time: where rates vary, one may be wrong."""
        with self._capture.use() as capture:
            if capture is None or not self.frame_count or not self.fps:
                return False
            reached = float(capture.get(import_cv2().CAP_PROP_POS_MSEC)) / 1e3
        length = self.frame_count / self.fps
        lacking = min((self.frame_count - self._count) / self.fps, length - reached)
        return lacking > 1 / self.fps + min(MAY_LACK, length / 10)

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Decode into `out`.

        Raises:
            FrameSizeError: the frame is of another size. `frame_size` is then its size, and the next `grab`
                gives it again, for a runtime that was opened anew.
        """
        image = self._decode(out) if self._held is None else self._held
        if image.shape != out.shape:
            self._held, self.frame_size = image, image.shape[:2]
            self._count -= 1
            raise other_size(self.origin, image.shape, out.shape)
        self._held = None
        # OpenCV writes into the array given when shape and type fit, and makes a new one when they do not.
        if image is not out and not np.shares_memory(image, out):
            np.copyto(out, image)

    def _decode(self, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        with self._capture.use() as capture:
            if capture is None:
                raise SourceError(f"{self.name}: closed")
            ok, image = capture.retrieve(out)
        if not ok:
            raise SourceError(f"{self.name}: frame {self._count} cannot be decoded")
        if image.dtype != np.uint8 or image.ndim != 3:
            raise SourceError(
                f"{self.name}: frame {self._count} is {image.shape} {image.dtype}, no colour image of 8 bits"
            )
        return image  # type: ignore[no-any-return]

    def stats(self) -> SourceStats:
        """Frames given."""
        return SourceStats(frames=self._count)

    def close(self) -> None:
        """Release the capture, or have the thread that is at work in it do so; idempotent."""
        self._capture.close()
