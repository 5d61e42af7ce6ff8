"""Threads of the SDK: they do not keep a process, and one that cannot be started is a typed error."""

from __future__ import annotations

import threading
from collections.abc import Callable

from safetrip_sdk.errors import WorkerDiedError

__all__ = ["start_thread"]


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread, running.

    Raises:
        WorkerDiedError: the system gives no more threads.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise WorkerDiedError(
            f"{name}: the thread cannot be started ({error}); close other programs, or allow more threads "
            "(ulimit -u, or the container's limit of processes)"
        ) from error
    return thread
