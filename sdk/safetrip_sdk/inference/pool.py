"""The ring of slots: who holds one, who waits for one, and when all are back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from safetrip_sdk.backends.base import Backend, Slot
from safetrip_sdk.errors import ResultTimeoutError
from safetrip_sdk.termination import leave_behind

__all__ = ["SlotPool", "make_slots"]


class SlotPool:
    """Hands out slots, least recently used first.

    Args:
        slots: all of them, free.
        check: called before and while waiting; raises when the runtime can hand out no more.
    """

    def __init__(self, slots: Sequence[Slot], check: Callable[[], None]) -> None:
        self.slots = tuple(slots)
        self._check = check
        self._free = deque(slots)
        self._changed = threading.Condition()

    def acquire(self, timeout: float | None) -> Slot | None:
        """A free slot, waiting up to `timeout` seconds (None: for ever); None when none came free."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                self._check()
                if self._free:
                    return self._free.popleft()
                rest = None if deadline is None else deadline - time.monotonic()
                if rest is not None and rest <= 0:
                    return None
                self._changed.wait(rest)

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        self._free.append(slot)  # first: an interrupt while the lock is waited for loses nothing
        with self._changed:
            self._changed.notify()

    def wake(self) -> None:
        """Make every waiting thread look at `check` again."""
        with self._changed:
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until every slot is back; False when none of the others came for `timeout` seconds."""
        with self._changed:
            back, deadline = len(self._free), time.monotonic() + timeout
            while back < len(self.slots):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return False
                self._changed.wait(rest)
                if len(self._free) > back:
                    back, deadline = len(self._free), time.monotonic() + timeout
            return True


def make_slots(backend: Backend, count: int) -> list[Slot]:
    """So many slots of a backend; where one cannot be made, what there is is closed."""
    made: list[Slot] = []
    try:
        for _ in range(count):
            made.append(backend.make_slot())
    except ResultTimeoutError:  # the device hangs, and destructors would wait for it
        leave_behind(backend, *made)
        raise
    except BaseException:
        for slot in made:
            slot.close()
        backend.close()
        raise
    return made
