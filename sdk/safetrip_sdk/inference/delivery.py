"""Frames that are owed to somebody: one thread waits for them, in order, and each is settled exactly once."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from safetrip_sdk.inference.flight import Deliver, Flight, ignore
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.threads import start_thread

if TYPE_CHECKING:
    from safetrip_sdk.errors import SafetripError
    from safetrip_sdk.inference.stats import StatsRecorder

__all__ = ["Delivery"]

log = logging.getLogger(__name__)


class Delivery:
    """The queue of launched frames that somebody is to be told about, and the thread that does it.

    A frame stays in the queue while the thread waits for it, so that `settle_all` misses none.

    Args:
        land: waits for a flight: its prediction, the error it ended in, or None when it is given up.
        died: called, from the thread, with what killed it.
        stats: counts what is delivered; not what nobody waits for any more.
    """

    def __init__(
        self,
        land: Callable[[Flight], Prediction | SafetripError | None],
        died: Callable[[BaseException], None],
        stats: StatsRecorder,
    ) -> None:
        self.ended = False
        self._land = land
        self._died = died
        self._stats = stats
        self._owed: deque[Flight] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; WorkerDiedError where there is none to be had."""
        self._thread = start_thread(self._main, "safetrip-deliver")

    def add(self, flight: Flight, deliver: Deliver) -> None:
        """Wait for a launched flight and call `deliver` with what comes."""
        flight.deliver = deliver
        with self._changed:
            self._owed.append(flight)
            self._changed.notify()

    def settle_all(self, error: BaseException) -> None:
        """Tell everybody about a fault, now; the frames themselves are still waited for."""
        with self._changed:
            owed = tuple(self._owed)
        for flight in owed:
            try:
                wake = self._settle(flight, error)
                if wake is not None:
                    wake()
            except Exception:  # of one receiver: the others are told all the same
                log.exception("frame %d: its fault could not be delivered", flight.frame_id)

    def end(self, timeout: float) -> None:
        """End the thread, once all has been settled; idempotent."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _settle(self, flight: Flight, result: Prediction | BaseException) -> Callable[[], None] | None:
        """Count and deliver a result, unless the flight was settled before; what wakes the receiver."""
        with self._changed:
            deliver, flight.deliver = flight.deliver, ignore
        if deliver is ignore:
            return None
        if isinstance(result, Prediction):
            self._stats.add(result.timing)
            return deliver(result, None)
        self._stats.add_error()
        return deliver(None, result)

    def _main(self) -> None:
        try:
            while (flight := self._next()) is not None:
                self._deliver(flight)
                with self._changed:
                    self._owed.popleft()
        except BaseException as error:
            self._died(error)

    def _next(self) -> Flight | None:
        with self._changed:
            while not self._owed:
                if self.ended:
                    return None
                self._changed.wait()
            return self._owed[0]

    def _deliver(self, flight: Flight) -> None:
        landed = self._land(flight)
        if landed is None:
            return
        wake = self._settle(flight, landed)
        del landed  # whoever is woken finds nobody else holding the prediction
        if wake is not None:
            wake()
