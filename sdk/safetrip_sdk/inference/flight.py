"""One frame on its way: when it was captured and begun, and what came of its time."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsIndex

from safetrip_sdk.prediction import Prediction, Timing

if TYPE_CHECKING:
    from safetrip_sdk.backends.base import Slot, StageTimes

__all__ = ["Deliver", "Flight", "capture_time", "ignore"]

Deliver = Callable[["Prediction | None", "BaseException | None"], "Callable[[], None] | None"]
"""Takes a frame's result; what it returns wakes whoever waits, and is called last."""

HOUR_NS = 3600 * 1_000_000_000


class Flight:
    """One frame on its way through a slot; times are monotonic nanoseconds."""

    __slots__ = ("begun", "captured", "deliver", "frame_id", "launched", "loaded_ms", "returned", "slot")

    def __init__(self, frame_id: int, slot: Slot, begun: int, captured: int) -> None:
        self.frame_id = frame_id
        self.slot = slot
        self.begun = begun
        self.captured = captured
        self.launched = 0
        self.loaded_ms = 0.0
        self.returned = False  # the slot, to the pool
        self.deliver: Deliver = ignore

    def timing(self, stages: StageTimes, done: int, now: int) -> Timing:
        """Where the time went, when its outputs were there at `done` and read at `now`."""
        upload, compute, download = stages
        upload += self.loaded_ms
        return Timing(
            # What is left: until a slot was free, behind other frames, and until a thread woke up.
            wait=max(0.0, (done - self.begun) / 1e6 - upload - compute - download),
            upload=upload,
            compute=compute,
            download=download + (now - done) / 1e6,
            total=(now - self.captured) / 1e6,
        )


def ignore(prediction: Prediction | None, error: BaseException | None) -> None:
    """For a frame whose caller has given up."""


def capture_time(captured_at: SupportsIndex, now: int) -> int:
    """A frame's time as given by whoever captured it, in nanoseconds.

    Raises:
        ValueError: no whole number, or of another clock: more than an hour away from `now`.
    """
    try:
        captured = operator.index(captured_at)
    except TypeError:
        captured = None
    if captured is None or abs(now - captured) > HOUR_NS:
        raise ValueError(
            f"captured_at: want nanoseconds by time.monotonic_ns(), of the last hour, not {captured_at!r}; "
            "a time by time.time_ns() (ROS stamps) minus (time.time_ns() - time.monotonic_ns()) is one"
        )
    return captured
