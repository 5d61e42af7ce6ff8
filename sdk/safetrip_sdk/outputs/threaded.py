"""An output in a thread of its own, so that writing costs the loop that predicts next to nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from safetrip_sdk.outputs.base import Output, Shot
from safetrip_sdk.outputs.share import ProcessorShare

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ThreadedOutput"]

log = logging.getLogger(__name__)

NICENESS = 5
"""Of the thread (Linux has one for each). Not more: a thread that is starved while it holds the interpreter's
lock holds up the loop as well."""


class ThreadedOutput:
    """Runs an output behind a bounded queue.

    Args:
        output: used by the thread alone; closed with this.
        drop: when the output is too slow, leave shots out and count them; else make the caller wait.
        capacity: shots that may wait.
        max_rate: shots a second at most, the rest is left out without being counted; 0: all.
        name: for messages.
        share: of a core's time (`ProcessorShare`), which shots are left out for; None: no such limit.

    Attributes:
        written, dropped, spared: shots that were written, left out because the output was too slow, and left
            out for the share.
        seconds: processor time of the thread.
    """

    def __init__(
        self,
        output: Output,
        drop: bool,
        capacity: int = 4,
        max_rate: float = 0.0,
        name: str = "output",
        share: float | None = None,
    ) -> None:
        self._output = output
        self._drop = drop
        self._capacity = capacity
        self._period = 1.0 / max_rate if max_rate else 0.0
        self._due = 0.0
        self.name = name
        self._share = None if share is None else ProcessorShare(share, getattr(output, "helpers", ()))
        self._waiting: deque[tuple[Shot, float]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._abandoned = False
        self._error: BaseException | None = None
        self.written = 0
        self.dropped = 0
        self.spared = 0
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._main, name=f"safetrip-{name}", daemon=True)
        self._thread.start()

    def wants_picture(self) -> bool:
        """Whether a frame that is captured now should be kept for this output."""
        if not self._output.pictures:
            return False
        now = time.monotonic()
        if now < self._due or (self._share is not None and not self._share.open(now)):
            return False
        return not self._drop or len(self._waiting) < self._capacity

    def put(self, shot: Shot) -> None:
        """Hand a shot over; raises what ended the thread, if anything did."""
        with self._changed:
            self._raise()
            now = time.monotonic()
            if self._period and now < self._due:
                return
            if self._share is not None and not self._share.open(now):
                self.spared += 1
                return
            if self._output.pictures and shot.frame is None:
                # It was not due when the frame was captured, or there was no room.
                if self._share is not None:
                    self.spared += 1
                elif not self._period:
                    self.dropped += 1
                return
            if self._drop and len(self._waiting) >= self._capacity:
                self.dropped += 1
                return
            while len(self._waiting) >= self._capacity and self._error is None:
                self._changed.wait()
            self._raise()
            self._due = max(self._due + self._period, now)
            self._waiting.append((shot, 0.0 if self._share is None else self._share.claim(now)))
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _main(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            while (following := self._next()) is not None:
                self._write(*following)
            (self._output.abandon if self._abandoned else self._output.close)()
        except BaseException as error:
            if isinstance(error, OSError) and error.filename is None:
                # A full disk says only that it is full: which of the outputs it was is for us to say.
                error.filename = f"--{self.name}"
            with self._changed:
                self._error = error
                self._waiting.clear()
                self._changed.notify_all()
            with contextlib.suppress(Exception):
                self._output.abandon()

    def _write(self, shot: Shot, claimed: float) -> None:
        started = time.thread_time()
        self._output.write(shot)
        cost = time.thread_time() - started
        with self._changed:
            self.written += 1
            self.seconds += cost
            if self._share is not None:
                self._share.settle(claimed, cost)

    def _next(self) -> tuple[Shot, float] | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._abandoned or not self._waiting:
                return None
            following = self._waiting.popleft()
            self._changed.notify_all()
            return following

    def close(self, abandon: bool = False) -> None:
        """Write what waits, complete the output and end the thread; raises what went wrong. Idempotent."""
        with self._changed:
            self._ending = True
            self._abandoned = self._abandoned or abandon
            self._changed.notify_all()
        self._thread.join()
        if self.dropped:
            log.info("%s: %d frames left out, it was too slow for them", self.name, self.dropped)
        if not abandon:
            error, self._error = self._error, None
            if error is not None:
                raise error

    def __enter__(self) -> ThreadedOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Ctrl-C ends a run as it should end; any other error leaves no half-written file.
        self.close(abandon=error is not None and not isinstance(error, KeyboardInterrupt))
