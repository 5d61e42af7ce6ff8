"""SIGTERM as an exception, so that it clears up what Ctrl-C does: files, threads, processes of our own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["sigterm_raises"]


@contextmanager
def sigterm_raises(error: BaseException) -> Iterator[None]:
    """Within, SIGTERM raises `error`; no effect outside the main thread, which alone may have handlers."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise error

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        if before is not None:  # a handler that was not Python's cannot be put back
            signal.signal(signal.SIGTERM, before)
