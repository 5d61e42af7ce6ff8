"""Sees frames that never come back, even when the thread that waits for them is stuck in a driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from safetrip_sdk.inference.timeouts import is_never
from safetrip_sdk.threads import start_thread

if TYPE_CHECKING:
    from safetrip_sdk.inference.flight import Flight

__all__ = ["Watchdog"]


class Watchdog:
    """Looks at the frames in flight a few times per `hang_after` and reports one that hangs.

    Frames run one behind another, so one may wait for the others: it hangs when no frame at all has come back
    for `hang_after` seconds, or when it alone does not, while `slots` times as long went by.

    Args:
        hang_after: seconds; 0 or infinity: never.
        slots: frames that may be in flight.
        report: called once, from the watchdog's thread, with the flight that hangs.
    """

    def __init__(self, hang_after: float, slots: int, report: Callable[[Flight], None]) -> None:
        self._patience = 0 if is_never(hang_after) else int(hang_after * 1e9)
        self._step = min(hang_after / 4, 1.0)
        self._slots = slots
        self._report = report
        self._flights: set[Flight] = set()
        self._came_back = self._awake = self._looked = time.monotonic_ns()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, where anything counts as hung; WorkerDiedError where there is none to be had."""
        if self._patience:
            self._thread = start_thread(self._main, "safetrip-watchdog")

    def watch(self, flight: Flight) -> None:
        """A frame is about to be launched (one set operation; atomic under the interpreter's lock)."""
        self._flights.add(flight)

    def forget(self, flight: Flight) -> None:
        """A frame has arrived or failed."""
        self._flights.discard(flight)
        self._came_back = time.monotonic_ns()

    def look(self, now: int) -> Flight | None:
        """The oldest frame that hangs at `now` (`time.monotonic_ns`); None when none does."""
        if now - self._looked > 3e9 * self._step:
            # The process itself stood still (stopped, or short of a core): its frames get their time anew.
            self._awake = now
        self._looked = now
        silent = now - max(self._came_back, self._awake) > self._patience
        for flight in sorted(self._flights.copy(), key=lambda flight: flight.launched):
            waited = now - max(flight.launched, self._awake)
            if waited > self._patience * (1 if silent else self._slots):
                return flight
        return None

    def _main(self) -> None:
        while not self._ending.wait(self._step):
            hangs = self.look(time.monotonic_ns())
            if hangs is not None:
                self._report(hangs)
                return

    def close(self) -> None:
        """End the thread; idempotent."""
        self._ending.set()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(1.0)
