"""Waiting for an event of the GPU by looking, asleep for most of what a run takes."""

from __future__ import annotations

import time
from collections import deque

from safetrip_sdk.cuda import Cuda
from safetrip_sdk.handles import Handle

__all__ = ["Polling"]

LOOK_S = 50e-6
"""Between two looks."""

SLEPT = 0.8
"""Of the expected time is slept through."""

REMEMBERED = 5
"""Runs."""


class Polling:
    """Waits for the end of runs that lie between two events.

    Args:
        cuda: the device.
        began: reached when a run begins.
        ended: reached when it has ended.
        spin: look without pause, instead of sleeping.
    """

    def __init__(self, cuda: Cuda, began: Handle, ended: Handle, spin: bool) -> None:
        self._cuda = cuda
        self._began = began
        self._ended = ended
        self._spin = spin
        # By the device's own clock: what the process sees contains its own sleep, and times it was stopped.
        self._taken_s: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def expected_s(self) -> float:
        """What a run takes at least: the shortest of the last few, so that a long one makes none later."""
        return min(self._taken_s, default=0.0)

    def wait(self, launched_at: float, timeout: float | None) -> bool:
        """Until `ended` is reached (True) or `timeout` seconds are over (False).

        Args:
            launched_at: `time.perf_counter()` at the launch.
            timeout: None waits for ever.
        """
        reached, ended = self._cuda.reached, self._ended
        deadline = None if timeout is None else time.perf_counter() + timeout
        if not self._spin and not reached(ended):
            # Through most of what a run takes, then look often: the core stays free.
            rest = SLEPT * self.expected_s - (time.perf_counter() - launched_at)
            if rest > 0:
                time.sleep(rest if timeout is None else min(rest, timeout))
        while not reached(ended):
            if deadline is not None and time.perf_counter() >= deadline:
                return False
            if not self._spin:
                time.sleep(LOOK_S)
        if not self._spin:
            self._learn()
        return True

    def _learn(self) -> None:
        taken_ms = self._cuda.elapsed(self._began, self._ended)
        if taken_ms is not None:
            self._taken_s.append(max(taken_ms, 0.0) / 1e3)
