"""Long native calls that stay interruptible.

Signal handlers run in the main thread, wherever it executes Python next. While it is inside a library, that
is one of the library's callbacks, and TensorRT prints what these raise and goes on: Ctrl-C would be lost,
even if the callback caught everything, since a handler may run before its first line. So such work gets a
thread of its own, and the caller waits where it can be interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

__all__ = ["Task", "run_apart"]

Result = TypeVar("Result")

PIECE_S = 0.1
"""Of waiting, between two chances for a signal handler to run."""


class Task:
    """What work that runs apart is given: `report` sends a line to the caller; `cancelled` says to stop."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the result any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._cancelled.set()


def run_apart(work: Callable[[Task], Result], progress: Callable[[str], None] | None = None) -> Result:
    """What `work` returns or raises, run in a thread of its own.

    Args:
        work: calls `report` as often as it likes and looks at `cancelled` now and then.
        progress: called in the calling thread with each reported line.

    Raises:
        BaseException: from a signal handler, or from `progress`; the task was cancelled and has ended.
    """
    lines: SimpleQueue[str | None] = SimpleQueue()
    task = Task(lines.put)
    outcome: Future[Result] = Future()
    begin: SimpleQueue[None] = SimpleQueue()
    ended = threading.Event()
    agreed = False

    def do() -> None:
        begin.get()
        try:
            if not task.cancelled:
                outcome.set_result(work(task))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            lines.put(None)
            ended.set()

    try:
        threading.Thread(target=do, name="safetrip-apart").start()
        # Interrupted before this line, nobody can say whether there is a thread; so it has not begun.
        agreed = True
        begin.put(None)
        for line in iter(lambda: _next(lines), None):
            if progress is not None:
                progress(line)
    except BaseException:
        task.cancel()
        begin.put(None)
        while agreed and not ended.wait(PIECE_S):
            pass  # native code at work would abort a process that ends
        raise
    return outcome.result()


def _next(lines: SimpleQueue[str | None]) -> str | None:
    """The next line, waited for in pieces: a signal that another thread receives wakes nobody."""
    while True:
        try:
            return lines.get(timeout=PIECE_S)
        except Empty:
            continue
