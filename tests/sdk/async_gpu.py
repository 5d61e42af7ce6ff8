"""The fake CUDA with streams that run later, each in a thread of its own, as a device's do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.sdk.fake_gpu import Event, FakeCuda, Stream, _Graph

FREES = {"cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy", "cudaGraphExecDestroy"}
LOOK_S = 2e-5


class AsyncStream(Stream):
    """Work in order, each piece after `pause_s` seconds."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._put = self._done = 0
        threading.Thread(target=self._main, daemon=True).start()

    def put(self, work: Callable[[], None]) -> None:
        self._put += 1
        self._work.put(work)

    @property
    def busy(self) -> bool:
        return self._done < self._put

    def _main(self) -> None:
        while True:
            work = self._work.get()
            time.sleep(self._pause_s)
            work()
            self._done += 1


class AsyncCuda(FakeCuda):
    """What is freed while a stream is at work is a fault: for runtimes of one slot.

    Args:
        pause_s: before each piece of work on a stream.
    """

    def __init__(self, integrated: bool = False, pause_s: float = 2e-4) -> None:
        super().__init__(integrated)
        self.pause_s = pause_s

    def __getattribute__(self, name: str) -> Any:
        call = super().__getattribute__(name)
        if name == "cudaStreamSynchronize":
            return lambda stream: self._until(lambda: not stream.busy) or call(stream)
        if name == "cudaEventSynchronize":
            return lambda event: self._until(lambda: event.at != Event.PENDING) or call(event)
        if name in FREES:
            return lambda thing: self._free(name, thing) or call(thing)
        return call

    def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(LOOK_S)

    def _free(self, name: str, thing: Any) -> None:
        if thing and any(isinstance(item, AsyncStream) and item.busy for item in tuple(self.live)):
            self.faults.append(f"{name} while a stream is at work")

    def cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        return AsyncStream(self.pause_s)

    def submit(self, stream: Any, stage: str, work: Callable[[], None]) -> None:
        if stream.captured is not None:
            super().submit(stream, stage, work)
        else:
            stream.put(lambda: self._perform(stage, work))

    def cudaGraphLaunch(self, graph: _Graph, stream: Any) -> None:
        for work in graph.work:
            stream.put(work)
