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
    """

    def __init__(
        self, output: Output, drop: bool, capacity: int = 4, max_rate: float = 0.0, name: str = "output"
    ) -> None:
        self._output = output
        self._drop = drop
        self._capacity = capacity
        self._period = 1.0 / max_rate if max_rate else 0.0
        self._due = 0.0
        self._name = name
        self._waiting: deque[Shot] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._abandoned = False
        self._error: BaseException | None = None
        self.written = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._main, name=f"safetrip-{name}", daemon=True)
        self._thread.start()

    def wants_picture(self) -> bool:
        """Whether a frame that is captured now should be kept for this output."""
        if not self._output.pictures:
            return False
        if time.monotonic() < self._due:
            return False
        return not self._drop or len(self._waiting) < self._capacity

    def put(self, shot: Shot) -> None:
        """Hand a shot over; raises what ended the thread, if anything did."""
        with self._changed:
            self._raise()
            now = time.monotonic()
            if self._period and now < self._due:
                return
            if self._output.pictures and shot.frame is None:
                self.dropped += 0 if self._period else 1
                return
            if self._drop and len(self._waiting) >= self._capacity:
                self.dropped += 1
                return
            while len(self._waiting) >= self._capacity and self._error is None:
                self._changed.wait()
            self._raise()
            self._due = max(self._due + self._period, now)
            self._waiting.append(shot)
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _main(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            while (shot := self._next()) is not None:
                self._output.write(shot)
                self.written += 1
            (self._output.abandon if self._abandoned else self._output.close)()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._waiting.clear()
                self._changed.notify_all()
            with contextlib.suppress(Exception):
                self._output.abandon()

    def _next(self) -> Shot | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._abandoned or not self._waiting:
                return None
            shot = self._waiting.popleft()
            self._changed.notify_all()
            return shot

    def close(self, abandon: bool = False) -> None:
        """Write what waits, complete the output and end the thread; raises what went wrong. Idempotent."""
        with self._changed:
            self._ending = True
            self._abandoned = self._abandoned or abandon
            self._changed.notify_all()
        self._thread.join()
        if self.dropped:
            log.warning("%s: %d frames left out, it was too slow for them", self._name, self.dropped)
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
