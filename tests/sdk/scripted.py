"""A backend whose slots run for as long as a test says: for what no real net does on command."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk.backends.base import ModelSpec, Outputs, StageTimes, TensorSpec
from safetrip_sdk.runtime import Runtime
from safetrip_sdk.sources import FrameSource

FRAME = (8, 12)
NET = (4, 6)


class ScriptedBackend:
    """Computes: label = the frame's first byte. A frame takes `seconds`, or until `gate` is set."""

    name = "scripted"
    device = "test"
    bounded = True

    def __init__(self, seconds: float = 0.0, overlaps: bool = False) -> None:
        self.seconds = seconds
        self.overlaps = overlaps
        self.gate = threading.Event()
        self.gate.set()
        self.fail: Callable[[str], None] = lambda call: None
        self.made: list[ScriptedSlot] = []
        self.closed = 0
        net = (1, *NET)
        self.spec = ModelSpec(
            TensorSpec("frame", (1, *FRAME, 3), np.dtype(np.uint8)),
            TensorSpec("labels", net, np.dtype(np.uint8)),
            TensorSpec("depth", net, np.dtype(np.float32)),
            None,
        )

    def make_slot(self) -> ScriptedSlot:
        self.fail("make_slot")
        self.made.append(ScriptedSlot(self))
        return self.made[-1]

    def close(self) -> None:
        self.closed += 1


class ScriptedSlot:
    def __init__(self, backend: ScriptedBackend) -> None:
        self.backend = backend
        self.frame: NDArray[np.uint8] = np.zeros((*FRAME, 3), np.uint8)
        self.used = self.frame
        self.closed = 0
        self.done = 0.0

    def load(self, frame: NDArray[np.uint8], borrow: bool) -> None:
        self.backend.fail("load")
        if frame is not self.frame:
            np.copyto(self.frame, frame)

    def launch(self) -> None:
        self.backend.fail("launch")
        self.done = time.monotonic() + self.backend.seconds

    def wait(self, timeout: float | None) -> bool:
        self.backend.fail("wait")
        deadline = None if timeout is None else time.monotonic() + timeout
        rest = self.done - time.monotonic()
        if timeout is not None and rest > timeout:
            time.sleep(timeout)
            return False
        time.sleep(max(0.0, rest))
        return self.backend.gate.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def read(self) -> Outputs:
        self.backend.fail("read")
        value = self.frame[0, 0, 0]
        return Outputs(np.full(NET, value, np.uint8), np.full(NET, value, np.float32), None)

    def times(self) -> StageTimes:
        return StageTimes(0.0, self.backend.seconds * 1e3, 0.0)

    def stage(self) -> str:
        return "compute"

    def close(self) -> None:
        self.closed += 1


class ScriptedCamera(FrameSource):
    """Live; gives a frame each time `give` is called, frame n says n, and ends when it is told to."""

    live = True
    frame_size: tuple[int, int] | None = FRAME

    def __init__(self) -> None:
        self.name = "camera"
        self.asked = 0  # times that `grab` was called: when it is n, n - 1 frames have been taken care of
        self.closed = 0
        self._given: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._value = 0

    def give(self, *values: int) -> None:
        """Frames that say so at every pixel."""
        for value in values:
            self._given.put(value)

    def end(self) -> None:
        self._given.put(None)

    def grab(self) -> int | None:
        self.asked += 1
        value = self._given.get()
        if value is None:
            return None
        self._value = value
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        out[:] = self._value

    def close(self) -> None:
        self.closed += 1


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.005)


def scripted(backend: ScriptedBackend, slots: int = 2, hang_after: float = 10.0) -> Runtime:
    """A runtime over `backend`, open."""
    classes = tuple(f"class{index}" for index in range(256))
    return Runtime.over(lambda size: backend, classes, frame_size=FRAME, slots=slots, hang_after=hang_after)


def numbered(value: int) -> NDArray[np.uint8]:
    """A frame that says `value` at every pixel."""
    return np.full((*FRAME, 3), value, np.uint8)
