"""Frames in flight: slots are filled, launched, waited for and read out, from any number of threads.

A blocking call waits in its own thread. Submitted and streamed frames are waited for, in order, by one
delivery thread. Either way the same few methods move a frame along, and every fault ends in one place.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from safetrip_sdk.backends.base import Backend, Slot
from safetrip_sdk.errors import (
    FrameError,
    InferenceError,
    ResultTimeoutError,
    RuntimeClosedError,
    SafetripError,
    WorkerDiedError,
)
from safetrip_sdk.frame import size_of
from safetrip_sdk.pool import SlotPool
from safetrip_sdk.prediction import Prediction, Timing
from safetrip_sdk.stats import StatsRecorder
from safetrip_sdk.ticket import Ticket
from safetrip_sdk.watchdog import Watchdog

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Deliver", "Flight", "Pipeline"]

Deliver = Callable[["Prediction | None", "BaseException | None"], "Callable[[], None] | None"]
"""Takes a frame's result; what it returns wakes whoever waits, and is called last."""

log = logging.getLogger(__name__)


class Flight:
    """One frame on its way through a slot; times are monotonic nanoseconds."""

    __slots__ = ("begun", "captured", "deliver", "frame_id", "launched", "loaded_ms", "slot")

    def __init__(self, frame_id: int, slot: Slot, begun: int, captured: int) -> None:
        self.frame_id = frame_id
        self.slot = slot
        self.begun = begun
        self.captured = captured
        self.launched = 0
        self.loaded_ms = 0.0
        self.deliver: Deliver | None = None


class Pipeline:
    """A backend, its slots, and the threads around them.

    Args:
        backend: the compiled model; closed with the pipeline.
        slots: number of frames that may be in flight.
        classes: names for the predictions.
        stats: where figures are counted.
        hang_after: seconds after which the watchdog gives a frame in flight up.
    """

    def __init__(
        self, backend: Backend, slots: int, classes: tuple[str, ...], stats: StatsRecorder, hang_after: float
    ) -> None:
        self.backend = backend
        self.stats = stats
        self.fault: BaseException | None = None
        self._classes = classes
        self._hang_after = hang_after
        self._closed = False
        self._process = os.getpid()
        self._ids = itertools.count()
        made: list[Slot] = []
        try:
            for _ in range(slots):
                made.append(backend.make_slot())
        except BaseException:
            for slot in made:
                slot.close()
            backend.close()
            raise
        self.pool = SlotPool(made, self.check)
        self._queue: deque[Flight] = deque()
        self._queued = threading.Condition()
        self._deliverer: threading.Thread | None = None
        self._piece = min(hang_after / 4, 1.0) if 0 < hang_after < float("inf") else 1.0
        self._watchdog = Watchdog(hang_after, self._hung)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(H, W, 3) that frames must have."""
        return self.backend.spec.frame.shape[1:]

    def check(self) -> None:
        """Raise what makes the pipeline unusable, if anything does."""
        if self._process != os.getpid():
            raise WorkerDiedError(
                f"the runtime was opened in process {self._process}, and its threads do not survive a fork: "
                'open a Runtime in the process that calls it (multiprocessing: start method "spawn")'
            )
        fault = self.fault
        if fault is not None:
            raise fault.with_traceback(None)
        if self._closed:
            raise RuntimeClosedError("the runtime is closed")

    def check_frame(self, frame: NDArray[np.uint8]) -> None:
        """FrameError unless `frame` is a (H, W, 3) uint8 array of this pipeline's size."""
        size = size_of(frame)
        if size != self.frame_shape[:2]:
            raise FrameError(
                f"frame: want {self.frame_shape[0]}x{self.frame_shape[1]} (height x width), for which the "
                f"runtime was opened, not {size[0]}x{size[1]}; "
                "for another frame size use Runtime.reopen(frame_size=(H, W))"
            )

    def acquire(self, timeout: float | None) -> Slot:
        """A free slot; ResultTimeoutError (stage "queued") when none comes free in time."""
        slot = self.pool.acquire(timeout)
        if slot is None:
            raise ResultTimeoutError(
                f"all {len(self.pool.slots)} slots were busy for {(timeout or 0) * 1e3:.0f} ms; "
                "send fewer frames, use more slots, or give more time",
                stage="queued",
            )
        return slot

    def new_id(self) -> int:
        """The next frame's number."""
        return next(self._ids)

    def launch(self, flight: Flight, frame: NDArray[np.uint8], borrow: bool) -> None:
        """Load and launch; on an error the slot goes back and the error is raised."""
        try:
            started = time.monotonic_ns()
            flight.slot.load(frame, borrow)
            flight.launched = time.monotonic_ns()
            flight.loaded_ms = (flight.launched - started) / 1e6
            self._watchdog.watch(flight)
            flight.slot.launch()
        except Exception as error:
            failure = self.failed(flight, error)
            raise failure from failure.__cause__
        except BaseException:
            self.hand_over(flight, _ignore)  # interrupted: it may be running
            raise

    def run(self, frame: NDArray[np.uint8], captured: int | None, timeout: float | None) -> Prediction:
        """One frame, waited for in the calling thread."""
        self.check_frame(frame)
        begun = time.monotonic_ns()
        flight = Flight(self.new_id(), self.acquire(timeout), begun, captured or begun)
        self.launch(flight, frame, borrow=True)
        rest = None if timeout is None else max(0.0, timeout - (time.monotonic_ns() - begun) / 1e9)
        try:
            arrived = self._wait(flight) if rest is None else flight.slot.wait(rest)
        except Exception as error:
            failure = self.failed(flight, error)
            raise failure from failure.__cause__
        except BaseException:
            self.hand_over(flight, _ignore)
            raise
        if not arrived:
            if timeout is None:
                self.check()  # raises: the watchdog has given the frame up
            stage = flight.slot.stage()
            self.hand_over(flight, _ignore)
            raise ResultTimeoutError(
                f"frame {flight.frame_id}: no result after {(timeout or 0) * 1e3:.0f} ms, "
                f"the frame is in stage {stage}; its slot comes free when it ends",
                stage=stage,
            )
        return self.arrived(flight)

    def submit(self, frame: NDArray[np.uint8], captured: int | None, timeout: float | None) -> Ticket:
        """One frame, copied and launched; the delivery thread settles the ticket."""
        self.check_frame(frame)
        begun = time.monotonic_ns()
        flight = Flight(self.new_id(), self.acquire(timeout), begun, captured or begun)
        ticket = Ticket(flight.frame_id, flight.slot.stage)
        self.launch(flight, frame, borrow=False)
        self.hand_over(flight, ticket.resolve)
        return ticket

    def hand_over(self, flight: Flight, deliver: Deliver) -> None:
        """Let the delivery thread wait for a launched flight and call `deliver` with what comes."""
        flight.deliver = deliver
        with self._queued:
            if self._deliverer is None:
                self._deliverer = threading.Thread(target=self._main, name="safetrip-deliver", daemon=True)
                self._deliverer.start()
            self._queue.append(flight)
            self._queued.notify()

    def arrived(self, flight: Flight) -> Prediction:
        """Read a finished slot out, give it back, count the frame."""
        slot = flight.slot
        done = time.monotonic_ns()
        try:
            upload, compute, download = slot.times()
            labels, depth, confidence = slot.read()
        except Exception as error:
            failure = self.failed(flight, error)
            raise failure from failure.__cause__
        self._watchdog.forget(flight)
        self.pool.release(slot)
        now = time.monotonic_ns()
        upload += flight.loaded_ms
        timing = Timing(
            # What is left: until a slot was free, behind other frames, and until a thread woke up.
            wait=max(0.0, (done - flight.begun) / 1e6 - upload - compute - download),
            upload=upload,
            compute=compute,
            download=download + (now - done) / 1e6,
            total=(now - flight.captured) / 1e6,
        )
        self.stats.add(timing)
        return Prediction(labels, depth, confidence, self._classes, flight.frame_id, flight.captured, timing)

    def failed(self, flight: Flight, error: Exception) -> SafetripError:
        """The one place where a frame's error ends: counts it, gives the slot back, returns what to raise."""
        self._watchdog.forget(flight)
        self.stats.add_error()
        if isinstance(error, SafetripError):
            failure = error
        else:
            failure = InferenceError(f"{self.backend.name}: {type(error).__name__}: {error}")
            failure.__cause__ = error
        if not failure.recoverable:
            self.break_down(failure)
        self.pool.release(flight.slot)
        return failure

    def break_down(self, error: BaseException) -> None:
        """Make the pipeline unusable: every later call raises `error`, the first such error wins."""
        if self.fault is None:
            self.fault = error
            log.error("the runtime is unusable until reopen(): %s", error)
        self.pool.wake()

    def _hung(self, flight: Flight) -> None:
        """The watchdog's verdict on a frame: name the stage, settle what waits."""
        stage = flight.slot.stage()
        error = ResultTimeoutError(
            f"frame {flight.frame_id} hangs in stage {stage} for more than {self._hang_after:g} s "
            f"on {self.backend.name} ({self.backend.device}); reopen() the runtime",
            stage=stage,
            recoverable=False,
        )
        self.break_down(error)
        self._settle_all(error, flight)

    def _settle_all(self, error: BaseException, *more: Flight) -> None:
        with self._queued:
            flights = [*more, *self._queue]
        for flight in flights:
            if flight.deliver is not None:
                deliver, flight.deliver = flight.deliver, _ignore
                wake = deliver(None, error)
                if wake is not None:
                    wake()

    def _main(self) -> None:
        """The delivery thread."""
        flight: Flight | None = None
        try:
            while True:
                with self._queued:
                    while not self._queue:
                        if self._closed:
                            return
                        self._queued.wait()
                    flight = self._queue.popleft()
                self._deliver(flight)
                flight = None
        except BaseException as cause:
            error = WorkerDiedError(f"the delivery thread died: {cause!r}; reopen() the runtime")
            error.__cause__ = cause
            self.break_down(error)
            self._settle_all(error, *([flight] if flight else []))

    def _deliver(self, flight: Flight) -> None:
        prediction: Prediction | None = None
        failure: SafetripError | None = None
        try:
            if not self._wait(flight):
                return  # settled by whoever found the fault
        except Exception as error:
            failure = self.failed(flight, error)
        else:
            try:
                prediction = self.arrived(flight)
            except SafetripError as error:
                failure = error
        # Read only now: the watchdog may have settled it meanwhile.
        assert flight.deliver is not None
        wake = flight.deliver(prediction, failure)
        # Whoever is woken finds nobody else holding the prediction.
        flight.deliver = prediction = None
        if wake is not None:
            wake()

    def _wait(self, flight: Flight) -> bool:
        """Until the outputs are there; False when the runtime has become unusable meanwhile.

        Where a bounded wait costs nothing more, it is taken in pieces, so that the watchdog's verdict is
        heard; else only the driver can end it.
        """
        if not self.backend.bounded:
            return flight.slot.wait(None)
        while not flight.slot.wait(self._piece):
            if self.fault is not None:
                return False
        return True

    def close(self, timeout: float) -> None:
        """End the threads, free everything; what hangs for `timeout` seconds is left behind. Idempotent."""
        if self._closed or self._process != os.getpid():  # what a forked process holds is its parent's
            return
        self._closed = True
        self.pool.wake()
        drained = self.pool.drain(timeout)
        with self._queued:
            self._queued.notify_all()
        self._watchdog.close()
        if self._deliverer is not None and threading.current_thread() is not self._deliverer:
            self._deliverer.join(timeout if drained else 0.0)
        if not drained:
            # Freeing memory that a device may still write to is worse than keeping it.
            log.error("%s: a frame still hangs; its slots and memory are left behind", self.backend.name)
            return
        for slot in self.pool.slots:
            slot.close()
        self.backend.close()


def _ignore(prediction: Prediction | None, error: BaseException | None) -> None:
    """For a frame whose caller has given up."""
