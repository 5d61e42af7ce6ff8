"""A camera's frames, captured in a thread and launched in a pipeline as the policy says.

One capture thread grabs frames; the pipeline's delivery thread completes them. A frame goes straight into a
free slot's input memory. When none is free it waits in one spare buffer, where a newer frame replaces it
(policy "latest"); so nothing ever queues without bound.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from safetrip_sdk.backends.base import Slot, aligned_empty
from safetrip_sdk.errors import QueueFullError, SafetripError, SourceError
from safetrip_sdk.inference.flight import Flight, capture_time
from safetrip_sdk.inference.pipeline import Pipeline
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.threads import start_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.sources import FrameSource

__all__ = ["Capture"]


class Capture:
    """A stream's capture thread, the frame that waits for a slot and the results that wait to be taken.

    Args:
        pipeline: runs the frames.
        source: gives them, in the capture thread alone.
        policy: "latest", "block" or "error"; see `Runtime.stream`.

    Raises:
        WorkerDiedError: there is no thread to be had.
    """

    def __init__(self, pipeline: Pipeline, source: FrameSource, policy: str) -> None:
        self._pipeline = pipeline
        self._source = source
        self._policy = policy
        slots = len(pipeline.pool.slots)
        # Side by side only where slots overlap: elsewhere a second launched frame would merely grow old.
        self._limit = slots if pipeline.backend.overlaps or policy != "latest" else 1
        self._room = 1 if policy == "latest" else 2 * slots
        self._changed = threading.Condition()
        self._results: deque[Prediction] = deque()
        self._error: BaseException | None = None
        self._end: SafetripError | None = None  # why capturing ended, where that was not the source's end
        self._newest = -1  # the frame of the last result
        self._in_flight = 0
        self._staged: Flight | None = None
        # A frame that waits without a slot: its id, its capture time, and the spare buffer that it is in.
        self._pending: tuple[int, int, NDArray[np.uint8]] | None = None
        self._spare: NDArray[np.uint8] | None = None  # the buffer, while nothing is in it
        self._ended = False
        self._stopping = False
        self._thread = start_thread(self._main, "safetrip-capture")

    # --- the consumer's side -------------------------------------------------------------------------------

    def take(self) -> Prediction | None:
        """The next prediction; None at the end; raises what went wrong once the rest is delivered."""
        with self._changed:
            while True:
                if self._results:
                    self._changed.notify_all()
                    return self._results.popleft()
                if self._error is not None:
                    raise self._error
                if self._ended and not self._in_flight and self._staged is None and self._pending is None:
                    if self._end is not None:
                        raise self._end
                    return None
                self._changed.wait()

    def stop(self) -> None:
        """Stop capturing; frames in flight end by themselves."""
        with self._changed:
            self._stopping = True
            self._drop_waiting()
            self._changed.notify_all()
        self._pipeline.pool.wake()
        # A camera that hangs in grab() must not hang the consumer, too.
        self._thread.join(2.0)

    # --- the capture thread --------------------------------------------------------------------------------

    def _main(self) -> None:
        capture = self._capture_latest if self._policy == "latest" else self._capture_in_order
        try:
            while not self._stopping and capture():
                pass
        except BaseException as error:
            if not isinstance(error, SafetripError):
                failure = SourceError(f"{self._source}: {type(error).__name__}: {error}")
                failure.__cause__ = error
                error = failure
            if isinstance(error, SafetripError) and error.recoverable:
                # The runtime is well: frames that are under way come first.
                self._end = error
            else:
                self._fail(error)
        self._launch_last()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _launch_last(self) -> None:
        """The newest frame gets its turn, also where others hold all slots when the source ends."""
        while self._pending is not None:
            self._launch_pending(0.25)

    def _fail(self, error: BaseException) -> None:
        """End the stream with an error, now: what has not been launched is dropped."""
        with self._changed:
            self._error = self._error or error
            self._drop_waiting()
            self._changed.notify_all()

    def _drop_waiting(self) -> None:
        """The lock is held."""
        staged, self._staged, self._pending = self._staged, None, None
        if staged is not None:
            self._pipeline.pool.release(staged.slot)

    def _capture_in_order(self) -> bool:
        """One frame for the policies that drop nothing; False at the source's end."""
        self._pipeline.check()
        if self._policy == "block":
            with self._changed:
                while len(self._results) + self._in_flight >= self._room and not self._stopping:
                    self._changed.wait()
        captured = self._grab()
        if captured is None:
            return False
        slot = self._slot_in_order()
        if slot is None:
            return False
        flight = self._retrieve(slot, captured)
        with self._changed:
            self._in_flight += 1
        self._launch(flight, slot.frame)
        return True

    def _grab(self) -> int | None:
        captured = self._source.grab()
        return None if captured is None else capture_time(captured, time.monotonic_ns())

    def _slot_in_order(self) -> Slot | None:
        """A free slot; None when the stream is stopped meanwhile."""
        pool = self._pipeline.pool
        if self._policy == "error":
            slot = None if len(self._results) >= self._room else pool.acquire(0.0)
            if slot is None:
                raise QueueFullError(
                    f"{self._source}: a frame came while all {len(pool.slots)} slots were busy; "
                    'use policy="latest", more slots, or a slower camera'
                )
            return slot
        while not self._stopping:
            slot = pool.acquire(0.25)
            if slot is not None:
                return slot
        return None

    def _retrieve(self, slot: Slot, captured: int) -> Flight:
        with self._pipeline.filling(slot) as frame:
            self._source.retrieve(frame)
        return Flight(self._pipeline.new_id(), slot, captured, captured)

    def _capture_latest(self) -> bool:
        """One frame, replacing what waits; False at the source's end."""
        pipeline = self._pipeline
        pipeline.check()
        captured = self._grab()
        if captured is None:
            return False
        with self._changed:
            slot = self._reclaim() or pipeline.pool.acquire(0.0)
        if slot is None:
            self._retrieve_spare(captured)
            return True
        flight = self._retrieve(slot, captured)
        with self._changed:
            if self._stopping or self._error is not None:
                pipeline.pool.release(slot)
                return False
            if self._in_flight >= self._limit:
                self._staged = flight
                return True
            self._in_flight += 1
        self._launch(flight, slot.frame)
        return True

    def _retrieve_spare(self, captured: int) -> None:
        """Keep a frame for which there is no slot now."""
        with self._changed:
            frame, self._spare = self._spare, None
        if frame is None:
            spec = self._pipeline.backend.spec.frame
            frame = aligned_empty(spec.shape[1:], spec.dtype)
        self._source.retrieve(frame)
        frame_id = self._pipeline.new_id()
        with self._changed:
            if self._stopping or self._error is not None:
                return
            self._pending = (frame_id, captured, frame)
            if self._in_flight >= self._limit:
                return  # launched when one of them arrives
        self._launch_pending(0.0)

    def _reclaim(self) -> Slot | None:
        """Drop what waits to be launched; its slot, if it has one. The lock is held."""
        if self._pending is not None:
            self._spare, self._pending = self._pending[2], None
            self._pipeline.stats.add_drop()
        if self._staged is None:
            return None
        slot, self._staged = self._staged.slot, None
        self._pipeline.stats.add_drop()
        return slot

    # --- either thread; the lock is never held where the pipeline may call back -----------------------------

    def _launch(self, flight: Flight, frame: NDArray[np.uint8]) -> None:
        """Launch a frame that counts as in flight already."""
        try:
            self._pipeline.launch(flight, frame, borrow=False)
        except SafetripError as error:
            self._pipeline.stats.add_error()
            self._arrived(None, error)
            return
        self._pipeline.hand_over(flight, self._arrived)

    def _launch_pending(self, patience: float) -> None:
        """Launch the spare buffer's frame if a slot comes free within `patience` seconds."""
        try:
            slot = self._pipeline.pool.acquire(patience)
        except SafetripError as error:
            self._fail(error)
            return
        if slot is None:
            return
        with self._changed:
            pending, self._pending = self._pending, None
            if pending is None:  # dropped, replaced or launched meanwhile
                self._pipeline.pool.release(slot)
                return
            self._in_flight += 1
        frame_id, captured, frame = pending
        self._launch(Flight(frame_id, slot, captured, captured), frame)
        self._spare = frame

    def _arrived(self, prediction: Prediction | None, error: BaseException | None) -> None:
        """Called with each result: hand it to the consumer, launch what waits."""
        with self._changed:
            self._in_flight -= 1
            if prediction is not None and not self._stopping:
                self._keep(prediction)
            if error is not None:
                self._fail(error)
            staged, self._staged = self._staged, None
            if staged is not None:
                self._in_flight += 1
            pending = self._pending is not None
            self._changed.notify_all()
        if staged is not None:
            self._launch(staged, staged.slot.frame)
        elif pending:
            self._launch_pending(0.0)

    def _keep(self, prediction: Prediction) -> None:
        """Have a result taken; of "latest", the newest alone. The lock is held."""
        if self._policy == "latest":
            if prediction.frame_id < self._newest:
                # Two threads launch, each into a slot of its own: one that still copied was overtaken.
                self._pipeline.stats.add_drop()
                return
            self._newest = prediction.frame_id
            if len(self._results) >= self._room:
                self._results.popleft()
                self._pipeline.stats.add_drop()
        self._results.append(prediction)
