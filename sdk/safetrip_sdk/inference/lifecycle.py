"""How a runtime opens and closes: in one thread at a time, with bounded waits, also from a signal handler."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from safetrip_sdk.errors import ResultTimeoutError, RuntimeClosedError, RuntimeFaultError
from safetrip_sdk.inference.timeouts import patience

__all__ = ["Lifecycle", "is_amid"]

log = logging.getLogger(__name__)


class Lifecycle:
    """Who opens, and whether anything may still be opened.

    Opening takes minutes where an engine is built, and for ever on a device that hangs: no lock is held
    meanwhile, and whoever waits for the opener may give up.

    Args:
        hang_after: seconds that `close` waits for the opener (10 where nothing ever counts as hung).

    Attributes:
        closed: for good.
    """

    def __init__(self, hang_after: float) -> None:
        self.closed = False
        self._patience = patience(hang_after)
        self._changed = threading.Condition()
        self._opener: int | None = None  # the thread

    @property
    def usable(self) -> bool:
        """True when it is neither closed nor being opened."""
        return not self.closed and self._opener is None

    @contextmanager
    def opening(self, timeout: float | None = None) -> Iterator[None]:
        """The right to open, waited for up to `timeout` seconds while another thread has it.

        Raises:
            ResultTimeoutError: the other thread is still at it (stage "opening").
            RuntimeClosedError: closed, before or meanwhile.
            RuntimeFaultError: this very thread is at it: a signal handler has called.
        """
        me = threading.get_ident()
        if self._opener == me:
            raise RuntimeFaultError("the runtime is being opened by the thread that calls it")
        try:
            with self._changed:
                self._wait_until_free(timeout)
                self._opener = me
            yield
        finally:
            if self._opener == me:
                self._opener = None
            with self._changed:
                self._changed.notify_all()

    def _wait_until_free(self, timeout: float | None) -> None:
        if not self._changed.wait_for(lambda: self.closed or self._opener is None, timeout):
            raise ResultTimeoutError(
                f"another thread opens the runtime, and had not done so after {(timeout or 0) * 1e3:.0f} ms; "
                "give more time (compiling takes seconds, building an engine minutes)",
                stage="opening",
            )
        if self.closed:
            raise RuntimeClosedError("the runtime is closed")

    def close(self) -> None:
        """Have nothing opened any more, and wait for the opener, unless this very thread is: a signal handler
        has called, or it closes what it opens. An opener that is left behind finds `closed`.
        """
        self.closed = True
        with self._changed:
            self._changed.notify_all()
            if self._opener == threading.get_ident():
                return
            if not self._changed.wait_for(lambda: self._opener is None, self._patience):
                log.error("closed while it is still being opened; what that makes is closed when it ends")


def is_amid(owner: object, *methods: Callable[..., Any]) -> bool:
    """Whether this thread is within one of these methods of `owner`, which a signal handler has interrupted.

    The stack is asked, and no mark that calls would make: each frame would pay for it, and an interrupt at
    the wrong place would leave it behind.
    """
    codes = {method.__code__ for method in methods}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code in codes and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False
