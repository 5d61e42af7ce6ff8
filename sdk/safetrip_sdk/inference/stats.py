"""Percentiles over any number of frames in constant memory.

Counts in geometric bins (2 % wide), the idea of HdrHistogram: a percentile is right to within 1 %, the
maximum and the mean are exact, and adding a value allocates nothing that stays.
"""

from __future__ import annotations

import math
import operator
import threading
import time
from array import array
from dataclasses import asdict, dataclass
from typing import Any

from safetrip_sdk.prediction import Timing

__all__ = ["Histogram", "RuntimeStats", "StageStats", "StatsRecorder"]

_LOWEST_MS = 1e-3
_GROWTH = 1.02
_BINS = 1100  # 1 us to about 48 minutes
_LOG_GROWTH = math.log(_GROWTH)
STAGES = ("wait", "upload", "compute", "download", "total")
_values = operator.attrgetter(*STAGES)


@dataclass(frozen=True)
class StageStats:
    """One stage's milliseconds per frame."""

    p50: float
    p95: float
    p99: float
    max: float
    mean: float


@dataclass(frozen=True)
class RuntimeStats:
    """What a runtime has done since it was opened (or since `reset`).

    Attributes:
        frames: predictions delivered.
        dropped: frames replaced by newer ones before they were predicted or taken.
        errors: frames that ended in an error for whoever was owed them.
        timeouts: calls that gave up after their `timeout`, for want of a slot or of the result. What comes of
            their frames is not counted; nor is a ticket that was asked too early, for it can be asked again.
        seconds: since the first frame was begun.
        fps: predictions per second over that time.
        stages: wait, upload, compute, download, total -> milliseconds.
    """

    frames: int
    dropped: int
    errors: int
    timeouts: int
    seconds: float
    fps: float
    stages: dict[str, StageStats]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able dictionaries."""
        return asdict(self)


class Histogram:
    """Counts of values (milliseconds) in geometric bins."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _BINS))
        self._number = 0
        self._sum = 0.0
        self._max = 0.0

    def add(self, value: float) -> None:
        """Count one value; below 1 us counts as 1 us."""
        index = int(math.log(value / _LOWEST_MS) / _LOG_GROWTH) if value > _LOWEST_MS else 0
        self._counts[min(index, _BINS - 1)] += 1
        self._number += 1
        self._sum += value
        if value > self._max:
            self._max = value

    def quantile(self, fraction: float) -> float:
        """The value that `fraction` of all values do not exceed (the bin's middle); 0 without values."""
        rank = max(1, math.ceil(fraction * self._number))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                middle: float = _LOWEST_MS * _GROWTH ** (index + 0.5)
                return min(middle, self._max)
        return 0.0

    def summary(self) -> StageStats:
        """Percentiles, maximum and mean."""
        mean = self._sum / self._number if self._number else 0.0
        return StageStats(self.quantile(0.50), self.quantile(0.95), self.quantile(0.99), self._max, mean)


class StatsRecorder:
    """Counters behind `Runtime.stats()`: for any thread, and a signal handler amid one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._stages = tuple(Histogram() for _ in STAGES)
            self._frames = 0
            self._dropped = 0
            self._errors = 0
            self._timeouts = 0
            self._first_ns: int | None = None
            self._last_ns = 0

    def add(self, timing: Timing) -> None:
        """Count one delivered prediction."""
        now = time.monotonic_ns()
        with self._lock:
            for histogram, value in zip(self._stages, _values(timing)):
                histogram.add(value)
            self._frames += 1
            if self._first_ns is None:
                self._first_ns = now - int(timing.total * 1e6)
            self._last_ns = now

    def add_drop(self) -> None:
        """Count one frame that a newer one replaced."""
        with self._lock:
            self._dropped += 1

    def add_error(self) -> None:
        """Count one frame that ended in an error."""
        with self._lock:
            self._errors += 1

    def add_timeout(self) -> None:
        """Count one call that gave up."""
        with self._lock:
            self._timeouts += 1

    def snapshot(self) -> RuntimeStats:
        """The figures as they stand."""
        with self._lock:
            seconds = 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9
            return RuntimeStats(
                frames=self._frames,
                dropped=self._dropped,
                errors=self._errors,
                timeouts=self._timeouts,
                seconds=seconds,
                fps=self._frames / seconds if seconds > 0 else 0.0,
                stages={stage: item.summary() for stage, item in zip(STAGES, self._stages)},
            )
