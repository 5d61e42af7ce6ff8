"""Sees frames that never come back, even when the thread that waits for them is stuck in a driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safetrip_sdk.delivery import Flight

__all__ = ["Watchdog"]


class Watchdog:
    """Looks at the frames in flight a few times per `hang_after` and reports one that is too old.

    Args:
        hang_after: seconds; 0 or infinity: never.
        report: called once, from the watchdog's thread, with the flight that hangs.
    """

    def __init__(self, hang_after: float, report: Callable[[Flight], None]) -> None:
        self._hang_after = hang_after
        self._report = report
        self._flights: set[Flight] = set()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        if 0 < hang_after < float("inf"):
            self._thread = threading.Thread(target=self._main, name="safetrip-watchdog", daemon=True)
            self._thread.start()

    def watch(self, flight: Flight) -> None:
        """A frame is about to be launched (one set operation; atomic under the interpreter's lock)."""
        self._flights.add(flight)

    def forget(self, flight: Flight) -> None:
        """A frame has arrived or failed."""
        self._flights.discard(flight)

    def _main(self) -> None:
        while not self._ending.wait(min(self._hang_after / 4, 1.0)):
            oldest = time.monotonic_ns() - int(self._hang_after * 1e9)
            for flight in tuple(self._flights):
                if flight.launched and flight.launched < oldest:
                    self._report(flight)
                    return

    def close(self) -> None:
        """End the thread; idempotent."""
        self._ending.set()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(1.0)
