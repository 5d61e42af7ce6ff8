"""How a process ends: SIGTERM clears up what Ctrl-C does, what was left open is closed at the exit, and what
must not be destroyed even then is left behind.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import signal
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

__all__ = ["Closable", "close_at_exit", "leave_behind", "sigterm_raises"]

log = logging.getLogger(__name__)


class Closable(Protocol):
    """What has threads of its own until it is closed, as often as one likes."""

    def close(self) -> None:
        """End them."""


_open: weakref.WeakSet[Closable] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):  # threads do not survive a fork: there is nothing to end in a child
    os.register_at_fork(after_in_child=_open.clear)


def close_at_exit(thing: Closable) -> None:
    """Have `thing` closed when the interpreter exits, if it is still there: native code that is at work in
    another thread then aborts the process, and the script's own exit status is lost."""
    _open.add(thing)
    # Exit handlers run last in, first out: before those of the libraries that were imported for `thing`.
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def _close_all() -> None:
    for thing in tuple(_open):
        try:
            thing.close()
        except Exception:  # the others are closed all the same
            log.exception("%s could not be closed at exit", thing)


def leave_behind(*things: object) -> None:
    """Never destroy these, nor what they refer to: not by the garbage collection, not when the process exits.

    A module's variable would not do: modules are cleared at the exit, and destructors run then.
    """
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


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
