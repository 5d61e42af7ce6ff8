"""Frames in flight: slots are filled, launched, waited for and read out, from any number of threads.

A blocking call waits in its own thread. Submitted and streamed frames are waited for, in order, by one
delivery thread. Either way the same few methods move a frame along, and every fault ends in one place, where
whoever is owed a frame is told: `break_down`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetrip_sdk.backends.base import Backend, Slot
from safetrip_sdk.errors import (
    FrameError,
    InferenceError,
    RuntimeClosedError,
    RuntimeFaultError,
    SafetripError,
    WorkerDiedError,
)
from safetrip_sdk.frame import size_of
from safetrip_sdk.inference.delivery import Delivery
from safetrip_sdk.inference.flight import Deliver, Flight, capture_time, ignore
from safetrip_sdk.inference.lifecycle import is_amid
from safetrip_sdk.inference.pool import SlotPool, make_slots
from safetrip_sdk.inference.stats import StatsRecorder
from safetrip_sdk.inference.ticket import Ticket
from safetrip_sdk.inference.timeouts import hangs, no_result, no_slot, patience, seconds
from safetrip_sdk.inference.watchdog import Watchdog
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.termination import leave_behind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Pipeline"]

log = logging.getLogger(__name__)


class Pipeline:
    """A backend, its slots, and the threads around them.

    Args:
        backend: the compiled model; closed with the pipeline.
        slots: number of frames that may be in flight.
        classes: names for the predictions.
        stats: where figures are counted.
        hang_after: seconds after which the watchdog gives a frame in flight up.
        ids: numbers for the frames.

    Attributes:
        fault: what makes the pipeline unusable, if anything does.
        put_off: closed by a signal handler amid a call, which is to call `close` on its way out.
        lenders: threads that have a slot to write into, one entry for each.
    """

    def __init__(
        self,
        backend: Backend,
        slots: int,
        classes: tuple[str, ...],
        stats: StatsRecorder,
        hang_after: float,
        ids: Iterator[int],
    ) -> None:
        self.backend = backend
        self.stats = stats
        self.fault: BaseException | None = None
        self.put_off = False
        self.lenders: list[int] = []
        self._classes = classes
        self._hang_after = hang_after
        self._closed = False
        self._breaking = threading.RLock()
        self._freeing = threading.Lock()  # taken once, by whoever frees
        self._process = os.getpid()
        self._ids = ids
        self.pool = SlotPool(make_slots(backend, slots), self.check)
        self._delivery = Delivery(self._land, self._died, stats)
        # Where a bounded wait costs nothing more, it is taken in pieces, so that a fault found elsewhere is
        # heard; else only the driver can end it.
        self._piece = (min(hang_after / 4, 1.0) or 1.0) if backend.bounded else None
        self._watchdog = Watchdog(hang_after, slots, self._hung)
        try:
            self._delivery.start()
            self._watchdog.start()
        except WorkerDiedError:
            self.close()
            raise

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

    @contextmanager
    def filling(self, slot: Slot) -> Iterator[NDArray[np.uint8]]:
        """A slot's own memory, to be written to; where that fails the slot goes back."""
        try:
            slot.load(slot.frame, borrow=False)
            yield slot.frame
        except BaseException as error:
            self.pool.release(slot)
            if isinstance(error, RuntimeFaultError):  # the slot's memory is gone
                self.break_down(error)
            raise

    def acquire(self, timeout: float | None) -> Slot:
        """A free slot; ResultTimeoutError (stage "queued") when none comes free in time."""
        slot = self.pool.acquire(timeout)
        if slot is None:
            self.stats.add_timeout()
            raise no_slot(len(self.pool.slots), timeout)
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

    def _begin(self, frame: NDArray[np.uint8], captured: int | None, timeout: float | None) -> Flight:
        """A slot for a frame that fits."""
        self.check_frame(frame)
        begun = time.monotonic_ns()
        captured = begun if captured is None else capture_time(captured, begun)
        return Flight(self.new_id(), self.acquire(timeout), begun, captured)

    def run(self, frame: NDArray[np.uint8], captured: int | None, timeout: float | None) -> Prediction:
        """One frame, waited for in the calling thread."""
        timeout = seconds(timeout)
        flight = self._begin(frame, captured, timeout)
        try:
            self.launch(flight, frame, borrow=True)
            rest = None if timeout is None else max(0.0, timeout - (time.monotonic_ns() - flight.begun) / 1e9)
            if self._wait(flight, rest):
                prediction = self.arrived(flight)
                self.stats.add(prediction.timing)
                return prediction
        except Exception:
            self.stats.add_error()
            raise
        except BaseException:
            self._leave(flight)
            raise
        stage = flight.slot.stage()
        self.hand_over(flight, ignore)
        if timeout is None:
            self.stats.add_error()
            self.check()  # raises: that is why nobody waits any more
        self.stats.add_timeout()
        raise no_result(flight.frame_id, timeout, stage, "its slot comes free when it ends")

    def _wait(self, flight: Flight, timeout: float | None) -> bool:
        """Until the outputs are there; False when they are not in time, or the runtime became unusable."""
        try:
            if timeout is not None:
                return flight.slot.wait(timeout)
            while not flight.slot.wait(self._piece):
                if self.fault is not None:
                    return False
            return True
        except Exception as error:
            failure = self.failed(flight, error)
            raise failure from failure.__cause__

    def _leave(self, flight: Flight) -> None:
        """The caller was interrupted: whatever the frame is at, its slot comes back when that has ended."""
        if not flight.returned:
            self.hand_over(flight, ignore)

    def submit(self, frame: NDArray[np.uint8], captured: int | None, timeout: float | None) -> Ticket:
        """One frame, copied and launched; the delivery thread settles the ticket."""
        return self.start(self._begin(frame, captured, seconds(timeout)), frame)

    def start(self, flight: Flight, frame: NDArray[np.uint8]) -> Ticket:
        """Load (a slot's own `frame` without a copy), launch, have the delivery thread settle the ticket."""
        ticket = Ticket(flight.frame_id, flight.slot.stage)
        try:
            self.launch(flight, frame, borrow=False)
        except Exception:
            self.stats.add_error()
            raise
        except BaseException:
            self._leave(flight)
            raise
        self.hand_over(flight, ticket.resolve)
        return ticket

    def hand_over(self, flight: Flight, deliver: Deliver) -> None:
        """Let the delivery thread wait for a launched flight and call `deliver` with what comes."""
        self._delivery.add(flight, deliver)
        if self.fault is not None:  # found since the launch, when this flight was owed to nobody yet
            self._delivery.settle_all(self.fault)

    def arrived(self, flight: Flight) -> Prediction:
        """Read a finished slot out, give it back."""
        slot = flight.slot
        done = time.monotonic_ns()
        try:
            stages = slot.times()
            labels, depth, confidence = slot.read()
        except Exception as error:
            failure = self.failed(flight, error)
            raise failure from failure.__cause__
        self._give_back(flight)
        timing = flight.timing(stages, done, time.monotonic_ns())
        return Prediction(labels, depth, confidence, self._classes, flight.frame_id, flight.captured, timing)

    def failed(self, flight: Flight, error: Exception) -> SafetripError:
        """The one place where a frame's error ends: gives the slot back, returns what to raise."""
        if isinstance(error, SafetripError):
            failure = error
        else:
            failure = InferenceError(f"{self.backend.name}: {type(error).__name__}: {error}")
            failure.__cause__ = error
        if not failure.recoverable:
            self.break_down(failure)
        self._give_back(flight)
        return failure

    def _give_back(self, flight: Flight) -> None:
        self._watchdog.forget(flight)
        flight.returned = True
        self.pool.release(flight.slot)

    def break_down(self, error: BaseException) -> None:
        """Make the pipeline unusable: every later call, and whoever is owed a frame, gets the first error."""
        with self._breaking:
            first = self.fault is None
            fault = self.fault = self.fault or error
        if first:
            log.error("the runtime is unusable until reopen(): %s", error)
        self.pool.wake()
        self._delivery.settle_all(fault)

    def _hung(self, flight: Flight) -> None:
        """The watchdog's verdict on a frame: name the stage."""
        stage = flight.slot.stage()
        where = f"{self.backend.name} ({self.backend.device})"
        self.break_down(hangs(flight.frame_id, self._hang_after, stage, where))

    def _land(self, flight: Flight) -> Prediction | SafetripError | None:
        """For the delivery thread: what a flight ended in; None when `close` has left it behind.

        After a fault, too, it is waited for: what comes back after all need not be left behind.
        """
        try:
            while not flight.slot.wait(self._piece):
                if self._delivery.ended:
                    return None
        except Exception as error:
            return self.failed(flight, error)
        try:
            return self.arrived(flight)
        except SafetripError as error:
            return error

    def _died(self, cause: BaseException) -> None:
        error = WorkerDiedError(f"the delivery thread died: {cause!r}; reopen() the runtime")
        error.__cause__ = cause
        self.break_down(error)

    @property
    def closed(self) -> bool:
        """Whether `close` has been called; for a forked process, too: what it holds is its parent's."""
        return self._closed or self._process != os.getpid()

    def close(self) -> None:
        """Finish what is in flight, end the threads, free everything. Idempotent.

        What does not come back for `hang_after` seconds (10 where that is never; 1 after a fault) is left
        behind. A signal handler amid a call of its own thread cannot wait for that call's frame, nor for a
        slot that this thread writes into: the pipeline takes no more, and they free on their way out.
        """
        if self._process != os.getpid():
            return
        self._closed = True
        self.pool.wake()
        if is_amid(self, Pipeline.run, Pipeline.submit) or threading.get_ident() in self.lenders:
            self.put_off = True
        elif self._freeing.acquire(blocking=False):
            self._free()

    def _free(self) -> None:
        timeout = 1.0 if self.fault else patience(self._hang_after)
        drained = self.pool.drain(timeout)
        if not drained:
            # Freeing memory that a device may still write to is worse than keeping it, also when the process
            # exits: destructors of native libraries would wait for the device.
            leave_behind(self.backend, *self.pool.slots)
            log.error("%s: a frame still hangs; its slots and memory are left behind", self.backend.name)
            self.break_down(RuntimeClosedError("the runtime was closed while this frame was under way"))
        self._watchdog.close()
        self._delivery.end(timeout if drained else 0.0)
        if not drained:
            return
        for slot in self.pool.slots:
            slot.close()
        self.backend.close()
