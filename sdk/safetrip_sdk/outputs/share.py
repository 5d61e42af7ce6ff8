"""A share of a core's time, for outputs beside an inference that wants all of the processor."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

__all__ = ["DEFAULT_SHARE", "RESERVE", "ProcessorShare", "idle_seconds", "seconds_of"]

DEFAULT_SHARE = 0.03
"""Of one core's time. With what outputs cost besides (frames to copy, caches, memory) that stays under the
5 % which the loop may lose."""

RESERVE = 0.25
"""Of the cores' time: idle time up to that is not to spare. An inference that takes all it can get leaves
some, where its threads wait for each other."""

_LOOK = 1.0
"""Seconds between two looks at helping threads and idle cores, which cost a millisecond."""

_NEW = 0.25
"""Of each frame's cost that goes into the mean."""


class ProcessorShare:
    """Says when an output's next frame is due, so that it keeps within a share of one core's time.

    Of one core's, not of all: a net's layers are computed by all cores together, and what one of them is kept
    from, the others wait for. So a share of 0.05 is what a loop that predicts may lose: 5 %.

    A frame's cost (the processor time of the thread that writes it, and of threads which a library keeps for
    it) is booked against the time that passes; frames in between are left out evenly. A time without frames
    is no credit for later, but for one frame. Where the cores stand idle there is nothing to keep to: the
    output may have what they leave, beyond a reserve, on top of what it has.

    Args:
        share: above 0 to 1.
        helpers: names of threads that work for the output, as Linux shows them (15 bytes).
    """

    def __init__(self, share: float, helpers: tuple[str, ...] = ()) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share: want more than 0, to 1, not {share}")
        self._share = self._rate = share
        self._helpers = helpers
        self._due = 0.0
        self._mean = 0.0
        self._spent = 0.0
        self._looked = (time.monotonic(), seconds_of(helpers), idle_seconds())

    def open(self, now: float) -> bool:
        """Whether a frame is due at `now` (`time.monotonic`)."""
        return now >= self._due

    def claim(self, now: float) -> float:
        """Book a frame at its mean cost, which is returned: `settle` wants it."""
        period = self._mean / self._rate
        self._due = max(self._due, now - period) + period
        return self._mean

    def settle(self, claimed: float, cost: float) -> None:
        """A frame is written: book the difference between the cost claimed for it and its own, in seconds."""
        self._mean += (cost - self._mean) * (_NEW if self._mean else 1.0)
        self._spent += cost
        self._due += (cost - claimed) / self._rate
        now = time.monotonic()
        if now - self._looked[0] >= _LOOK:
            self._look(now)

    def _look(self, now: float) -> None:
        """Book what the helpers did, and see whether the cores have time to spare."""
        looked = (now, seconds_of(self._helpers), idle_seconds())
        passed, helped, idle = (new - old for new, old in zip(looked, self._looked))
        self._looked = looked
        helped = max(helped, 0.0)
        self._due += helped / self._rate
        self.adapt((self._spent + helped) / passed, idle / passed - RESERVE * len(_cores()))
        self._spent = 0.0

    def adapt(self, used: float, spare: float) -> None:
        """Widen the share where cores are idle, narrow it down to what was asked for where they are not.

        Args:
            used: cores that the output has had of late.
            spare: cores that stood idle meanwhile, beyond the reserve.
        """
        if spare > 0:
            self._rate = max(self._share, used) + spare / 2
        else:
            self._rate = max(self._share, self._rate / 2)


def _cores() -> set[int]:
    """Numbers of those this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def idle_seconds() -> float:
    """Seconds that this process's cores have been idle so far, together; 0 where there is no /proc."""
    ticks = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        names = {f"cpu{number}" for number in _cores()}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *figures = line.split()
            if name in names:
                ticks += int(figures[3]) + int(figures[4])  # idle, and waiting for a disk
        return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


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
