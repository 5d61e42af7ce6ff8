"""Work on several cores: one function over many items, results in order."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

import cv2

from safetrip_sdk.device import core_count
from safetrip_trainer.errors import DatasetError

__all__ = ["keep_memory", "map_processes"]

# glibc's <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order; on this process where one worker is enough.

    `workers`: processes (None: one per core). An exception in a worker ends the work and is raised here;
    DatasetError where a worker dies without one.
    """
    count = min(workers or core_count(), len(items))
    if count <= 1:
        yield from map(function, items)
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) that a fork would copy half of.
    with ProcessPoolExecutor(count, get_context("spawn"), _start_worker) as pool:
        try:
            yield from pool.map(function, items, chunksize=1)
        except BrokenProcessPool as error:
            raise DatasetError(
                "a worker process was killed (out of memory?); run again with a smaller --workers; a script "
                'of your own must call this below `if __name__ == "__main__":`'
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    _end_with_parent()
    cv2.setNumThreads(1)
    keep_memory()


def _end_with_parent() -> None:
    """Linux: no work goes on, or waits for ever, for a process that was killed outright."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        parent = parent_process()
        if parent is not None and parent.pid != os.getppid():  # it died just before
            os._exit(1)


def keep_memory(worker: int = 0) -> None:
    """Let this process keep what it frees: a worker's first call.

    glibc hands blocks above 128 KB back to the kernel when they are freed; the page faults of images that are
    allocated again and again then take half of a worker's time. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
