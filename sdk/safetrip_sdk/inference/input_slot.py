"""A slot lent to whoever writes frames: a camera's driver fills the memory that the engine reads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from safetrip_sdk.inference.flight import Flight, capture_time
from safetrip_sdk.inference.timeouts import seconds

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.backends.base import Slot
    from safetrip_sdk.inference.pipeline import Pipeline
    from safetrip_sdk.inference.ticket import Ticket

__all__ = ["InputSlot"]


class InputSlot:
    """What `Runtime.slot` lends: its input memory, to be filled and submitted once, or given back.

    >>> with runtime.slot() as slot:                       # doctest: +SKIP
    ...     captured_at = camera.read_into(slot.frame)
    ...     ticket = slot.submit(captured_at)

    It counts as a frame in flight until then; a `with` block gives it back where nothing was submitted.
    Closing the runtime waits for slots that other threads have, and is put off while its own has one.
    """

    def __init__(self, pipeline: Pipeline, timeout: float | None) -> None:
        self._pipeline = pipeline
        slot = pipeline.acquire(seconds(timeout))
        with pipeline.filling(slot):
            self._slot: Slot | None = slot
        self._thread = threading.get_ident()
        pipeline.lenders.append(self._thread)

    @property
    def frame(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR, C-contiguous, page-locked on a GPU; yours until `submit`, and not beyond.

        Raises ValueError once it was submitted or given back.
        """
        return self._lent().frame

    def submit(self, captured_at: int | None = None) -> Ticket:
        """Start inference on what is in `frame`, without a copy.

        Args:
            captured_at: when it was taken (`time.monotonic_ns`), as `FrameSource.read_into` returns it; None:
                now.

        Raises:
            ValueError: it was submitted or given back before, or `captured_at` is by another clock.
            RuntimeFaultError: as from `Runtime.submit`.
        """
        slot, begun = self._lent(), time.monotonic_ns()
        captured = begun if captured_at is None else capture_time(captured_at, begun)
        pipeline, self._slot = self._pipeline, None
        try:
            return pipeline.start(Flight(pipeline.new_id(), slot, begun, captured), slot.frame)
        finally:
            self._ended()

    def close(self) -> None:
        """Give it back unused; of no effect on one that was submitted."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pipeline.pool.release(slot)
            self._ended()

    def _ended(self) -> None:
        self._pipeline.lenders.remove(self._thread)
        if self._pipeline.put_off:
            self._pipeline.close()

    def _lent(self) -> Slot:
        if self._slot is None:
            raise ValueError("this slot was submitted or given back: take another one from Runtime.slot()")
        return self._slot

    def __enter__(self) -> InputSlot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
