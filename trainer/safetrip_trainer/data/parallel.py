"""Work on several cores: one function over many items, results in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import cv2

from safetrip_trainer.errors import DatasetError

__all__ = ["map_processes"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order; on this process where one worker is enough.

    `workers`: processes (None: one per core). An exception in a worker ends the work and is raised here;
    DatasetError where a worker dies without one.
    """
    count = min(workers or os.cpu_count() or 1, len(items))
    if count <= 1:
        yield from map(function, items)
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) that a fork would copy half of.
    with ProcessPoolExecutor(count, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        try:
            yield from pool.map(function, items, chunksize=1)
        except BrokenProcessPool as error:
            raise DatasetError(
                "a worker process was killed (out of memory?); run again with a smaller --workers"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
