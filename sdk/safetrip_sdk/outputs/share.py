"""A share of a core's time, for outputs beside an inference that wants all of the processor."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

__all__ = ["DEFAULT_SHARE", "ProcessorShare", "seconds_of"]

DEFAULT_SHARE = 0.04
"""Of one core's time. With what outputs cost besides (frames to copy, caches, memory) that stays under the
5 % which the loop may lose."""

_LOOK = 1.0
"""Seconds between two looks at the time of helping threads, which costs half a millisecond."""

_NEW = 0.25
"""Of each frame's cost that goes into the mean."""


class ProcessorShare:
    """Says when an output's next frame is due, so that it keeps within a share of one core's time.

    Of one core's, not of all: a net's layers are computed by all cores together, and what one of them is kept
    from, the others wait for. So a share of 0.05 is what a loop that predicts may lose: 5 %.

    A frame's cost (the processor time of the thread that writes it, and of threads which a library keeps for
    it) is booked against the time that passes; frames in between are left out evenly. A time without frames
    is no credit for later, but for one frame.

    Args:
        share: above 0 to 1.
        helpers: names of threads that work for the output, as Linux shows them (15 bytes).
    """

    def __init__(self, share: float, helpers: tuple[str, ...] = ()) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share: want more than 0, to 1, not {share}")
        self._share = share
        self._helpers = helpers
        self._helped = seconds_of(helpers)
        self._looked = time.monotonic()
        self._due = 0.0
        self._mean = 0.0

    def open(self, now: float) -> bool:
        """Whether a frame is due at `now` (`time.monotonic`)."""
        return now >= self._due

    def claim(self, now: float) -> float:
        """Book a frame at its mean cost, which is returned: `settle` wants it."""
        period = self._mean / self._share
        self._due = max(self._due, now - period) + period
        return self._mean

    def settle(self, claimed: float, cost: float) -> None:
        """A frame is written: book the difference between the cost claimed for it and its own, in seconds."""
        self._mean += (cost - self._mean) * (_NEW if self._mean else 1.0)
        now = time.monotonic()
        if self._helpers and now - self._looked >= _LOOK:
            helped = seconds_of(self._helpers)
            cost += max(helped - self._helped, 0.0)
            self._helped, self._looked = helped, now
        self._due += (cost - claimed) / self._share


def seconds_of(names: tuple[str, ...]) -> float:
    """Processor time that this process's threads of some names have had so far; 0 where there is no /proc."""
    total = 0.0
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir() if names else ():
            # A thread may end between the two.
            with contextlib.suppress(OSError, ValueError, IndexError):
                if (task / "comm").read_text().strip() in names:
                    total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total
