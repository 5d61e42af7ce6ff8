"""A thread that runs one call after another, and whose death cannot be missed."""

from __future__ import annotations

import queue
from collections.abc import Callable

from safetrip_sdk.errors import RuntimeClosedError, WorkerDiedError
from safetrip_sdk.threads import start_thread

__all__ = ["Worker"]


class Worker:
    """Runs calls in the order they were put; when one raises, every later `put` and `check` says so.

    Args:
        name: of the thread.

    Raises:
        WorkerDiedError: there is no thread to be had.
    """

    def __init__(self, name: str) -> None:
        # SimpleQueue is C code: putting allocates nothing that a frame would notice.
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._died: BaseException | None = None
        self._closed = False
        self._name = name
        self._thread = start_thread(self._main, name)

    def _main(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
        except BaseException as error:
            self._died = error

    def put(self, call: Callable[[], None]) -> None:
        """Queue a call; WorkerDiedError when the thread is dead, RuntimeClosedError after `close`."""
        self.check()
        if self._closed:
            raise RuntimeClosedError(f"{self._name}: closed")
        self._calls.put(call)

    def check(self) -> None:
        """WorkerDiedError, from what killed it, when the thread is dead."""
        if self._died is not None:
            raise WorkerDiedError(f"{self._name} died: {self._died!r}") from self._died

    def close(self, timeout: float = 1.0) -> None:
        """Let queued calls finish and end the thread; a call that hangs is left behind. Idempotent."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
            self._thread.join(timeout)
