"""A live source with a thread of its own: always the newest frame, and back after every loss.

The thread takes frames off the driver all the time, decoding none, so that no queue grows old. Whoever
wants a frame gets the next one that comes, and the thread waits while that one is decoded. A camera that
is not there yet, stops, or hangs in its driver, is opened again with growing pauses.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from safetrip_sdk.errors import BackendUnavailableError, SourceError
from safetrip_sdk.sources.base import FrameSource, SourceStats, other_size
from safetrip_sdk.termination import close_at_exit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GIVE_UP_AFTER", "STALL_AFTER", "Capture", "LiveSource"]

log = logging.getLogger(__name__)

STALL_AFTER = 5.0
"""Seconds without a frame after which a camera counts as hung."""

GIVE_UP_AFTER = 60.0
"""Seconds without a frame after which `grab` raises, and opening does."""

FIRST_FRAME_WITHIN = 15.0
"""Seconds that an open camera has at least for its first frame: a stream may have to wait for a key frame."""

CLOSE_WITHIN = 2.0
"""Seconds that `close` waits for the frame that is on its way."""

_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts to open a lost camera; the last one from then on."""


class Capture(Protocol):
    """What a cv2.VideoCapture is."""

    def grab(self) -> bool:
        """Wait for the next frame; False when there is none."""

    def retrieve(self, out: Any = None) -> tuple[bool, Any]:
        """Decode the frame grabbed last."""

    def release(self) -> None:
        """Let go of the device."""


class LiveSource(FrameSource):
    """Frames of a camera or network stream that may go away and come back.

    Args:
        name: for messages.
        opener: opens the device anew; SourceError where it cannot.
        stall_after: seconds without a frame after which it is taken for hung and opened anew.
        give_up_after: seconds without a frame, the first one, too, after which that is an error; 0: never.

    Raises:
        SourceError: it gave no frame for `give_up_after` seconds; the text says why.
        BackendUnavailableError: the opener's: what it needs is not installed.
    """

    live = True

    def __init__(
        self,
        name: str,
        opener: Callable[[], Capture],
        stall_after: float = STALL_AFTER,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self.name = name
        self._opener = opener
        self._stall_after = stall_after
        self._give_up_after = give_up_after
        self._stats = SourceStats()
        self._changed = threading.Condition()
        self._generation = 0  # of the thread that may speak; an older one is stuck in a driver
        self._wanted = False  # somebody waits for a frame
        self._grabbed: tuple[Capture, int] | None = None  # the frame to decode, and its time
        self._decoding = False
        self._down = True  # lost, or never there, and not yet open again
        self._tried = False  # to open it
        self._refused: BackendUnavailableError | None = None  # why no attempt can help
        self._closed = False
        self._frame_ns = self._alive_ns = time.monotonic_ns()  # of the last frame; of the last sign of life
        close_at_exit(self)
        self._start()
        try:
            self.frame_size = self._first_size()
        except BaseException:
            self.close()
            raise

    def _first_size(self) -> tuple[int, int]:
        # Drivers often do not deliver what their properties promise: look at a frame.
        began = time.monotonic()
        while True:
            if self.grab() is None:
                raise SourceError(f"{self.name}: closed")
            ok, image = self._decode(None)
            if ok and image is not None:
                break
            if 0 < self._give_up_after < time.monotonic() - began:
                raise SourceError(f"{self.name}: gives frames that cannot be decoded")
        with self._changed:
            self._stats = replace(self._stats, frames=0)
        return int(image.shape[0]), int(image.shape[1])

    def _start(self) -> None:
        self._generation += 1
        arguments = (self._generation,)
        self._thread = threading.Thread(
            target=self._main, args=arguments, name="safetrip-camera", daemon=True
        )
        self._thread.start()

    # --- the camera's thread -------------------------------------------------------------------------------

    def _main(self, generation: int) -> None:
        capture: Capture | None = None
        while True:
            if capture is None:
                capture = self._reopen(generation)
                if capture is None:
                    return
            error = "it gives no more frames"
            try:
                ok = capture.grab()
            except Exception as caught:  # of whatever library is behind it
                ok, error = False, f"{type(caught).__name__}: {caught}"
            if not self._speak(generation, capture, ok, error):
                capture.release()
                if self._is_stale(generation):
                    return
                capture = None

    def _speak(self, generation: int, capture: Capture, ok: bool, error: str) -> bool:
        """Offer the frame grabbed, wait while it is decoded; False when the capture is of no more use."""
        with self._changed:
            if self._closed or generation != self._generation:
                return False
            if not ok:
                self._lost(error)
                return False
            self._frame_ns = self._alive_ns = time.monotonic_ns()
            if self._wanted:
                offered = self._grabbed = (capture, self._frame_ns)
                self._wanted = False
                self._changed.notify_all()
                while (self._grabbed is offered and not self._closed) or self._decoding:
                    self._changed.wait()
            return not self._closed and generation == self._generation

    def _lost(self, error: str) -> None:
        """Count and say it; the lock is held."""
        self._down = True
        if self.frame_size is None:
            self._not_yet("it can be opened, and gives no frame; is it used by another program?")
            return
        self._stats = replace(self._stats, last_error=error)
        log.warning("%s: lost after %d frames (%s); opening it again", self.name, self._stats.frames, error)

    def _not_yet(self, error: str) -> None:
        """Say why there is no first frame; the lock is held."""
        self._stats = replace(self._stats, last_error=error)
        limit = f"{self._give_up_after:g} s" if self._give_up_after else "as long as it takes"
        log.warning("%s: no frame yet: %s; trying again (give_up: %s)", self.name, error, limit)

    def _is_stale(self, generation: int) -> bool:
        with self._changed:
            return self._closed or generation != self._generation

    def _reopen(self, generation: int) -> Capture | None:
        """Open it again, however long that takes; None when nobody wants it any more."""
        lost = time.monotonic()
        for attempt in itertools.count():
            with self._changed:
                pause = _PAUSES[min(attempt, len(_PAUSES) - 1)] if self._tried else 0.0
                self._tried = True
                self._changed.wait_for(lambda: self._closed or generation != self._generation, pause)
            if self._is_stale(generation):
                return None
            try:
                capture = self._opener()
            except Exception as error:  # whatever it is, the camera may come back
                if not self._failed(attempt, error):
                    return None
                continue
            self._opened(attempt, time.monotonic() - lost)
            return capture
        raise AssertionError("never comes here")

    def _failed(self, attempt: int, error: Exception) -> bool:
        """Whether it is worth another attempt to open it."""
        with self._changed:
            if self.frame_size is not None:
                log.warning("%s: attempt %d: %s", self.name, attempt + 1, error)
            elif isinstance(error, BackendUnavailableError):
                self._refused = error
                self._changed.notify_all()
                return False
            else:
                self._not_yet(str(error))
        return True

    def _opened(self, attempt: int, seconds: float) -> None:
        with self._changed:
            self._down, self._alive_ns = False, time.monotonic_ns()
            if self.frame_size is not None:
                self._stats = replace(self._stats, reconnects=self._stats.reconnects + 1)
                log.warning("%s: open again after %.1f s", self.name, seconds)
            elif attempt:
                log.warning("%s: open after %.1f s", self.name, seconds)

    # --- the side of whoever wants frames -------------------------------------------------------------------

    def grab(self) -> int | None:
        """Wait for the next frame to come; None after `close`.

        Raises:
            SourceError: none came for `give_up_after` seconds.
        """
        with self._changed:
            if self._grabbed is not None:
                # Grabbed before and never retrieved: it is passed over.
                self._let_go()
            self._wanted = True
            self._changed.notify_all()
            while self._grabbed is None:
                if self._closed:
                    return None
                self._check_patience()
                self._changed.wait(0.1)
            self.origin = f"{self.name}#{self._stats.frames}"
            self._stats = replace(self._stats, frames=self._stats.frames + 1)
            return self._grabbed[1]

    def _check_patience(self) -> None:
        """Leave a hung thread behind, give up in the end; the lock is held."""
        if self._refused is not None:
            raise self._refused
        now = time.monotonic_ns()
        silent = (now - self._frame_ns) / 1e9
        starting = self.frame_size is None
        if self._give_up_after and silent > self._give_up_after:
            self._wanted = False
            if starting:
                why = self._stats.last_error or "it hangs while it is opened, or before its first frame"
                raise SourceError(f"{self.name}: no frame within {self._give_up_after:g} s: {why}")
            raise SourceError(
                f"{self.name}: camera gone: no frame for {silent:.0f} s "
                f"({self._stats.last_error or 'it hangs'}); is it plugged in?"
            )
        hung = (now - self._alive_ns) / 1e9
        patience = max(self._stall_after, FIRST_FRAME_WITHIN) if starting else self._stall_after
        if hung > patience and not self._down:
            self._stats = replace(self._stats, stalls=self._stats.stalls + 1)
            self._lost(f"no frame for {hung:.1f} s")
            self._start()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Decode into `out`; a frame that cannot be decoded is passed over for the next.

        Raises:
            FrameSizeError: the camera now gives frames of another size, which `frame_size` then says.
            SourceError: closed meanwhile, or no frame came for `give_up_after` seconds.
        """
        while True:
            ok, image = self._decode(out)
            if ok:
                self._deliver(image, out)
                return
            with self._changed:
                stats = self._stats
                self._stats = replace(stats, damaged=stats.damaged + 1, frames=stats.frames - 1)
            log.warning("%s: passing over a frame that cannot be decoded", self.name)
            if self.grab() is None:
                raise SourceError(f"{self.name}: closed")

    def _decode(self, out: NDArray[np.uint8] | None) -> tuple[bool, Any]:
        """The frame grabbed last; the thread waits meanwhile, and goes on afterwards."""
        with self._changed:
            if self._grabbed is None:
                raise SourceError(f"{self.name}: there is no frame to decode; call grab first")
            capture, _ = self._grabbed
            self._decoding = True
        try:
            return capture.retrieve(out)
        except Exception as error:  # of whatever library is behind it
            return False, error
        finally:
            with self._changed:
                self._decoding = False
                self._let_go()

    def _let_go(self) -> None:
        """Let the thread go on, which waited because it was told to: that was no hang. The lock is held."""
        self._grabbed = None
        self._frame_ns = self._alive_ns = time.monotonic_ns()
        self._changed.notify_all()

    def _deliver(self, image: Any, out: NDArray[np.uint8]) -> None:
        if image.shape != out.shape:
            error = other_size(self.origin, image.shape, out.shape)
            self.frame_size = error.size
            raise error
        # cv2 decodes into the array given where it can, and makes one of its own where not.
        if image is not out and not np.shares_memory(image, out):
            np.copyto(out, image)

    def stats(self) -> SourceStats:
        """Frames given, losses and returns so far."""
        with self._changed:
            return self._stats

    def close(self) -> None:
        """End the thread, which lets go of the device; idempotent. One that hangs is left behind."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # A process that ends while OpenCV is at work in another thread is aborted.
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WITHIN)
