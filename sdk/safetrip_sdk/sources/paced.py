"""A recording played at the pace at which it was taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource, SourceStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PacedSource"]


class PacedSource(FrameSource):
    """A file's frames as a camera would give them: each at its time, and grown old when nobody takes it.

    Args:
        inner: a source that is not live; closed with this one.
        fps: frames a second; 0: the recording's own times, else its own rate.

    Raises:
        SourceError: neither is known.
    """

    live = True

    def __init__(self, inner: FrameSource, fps: float = 0.0) -> None:
        self._inner = inner
        self.fps = fps or inner.fps
        if not self.fps and inner.media_time is None:
            raise SourceError(
                f"{inner}: says no frame rate to keep to; give one (file://...?realtime=1&fps=10)"
            )
        self._own_times = not fps and inner.media_time is not None
        self.name, self.frame_size, self.intrinsics = inner.name, inner.frame_size, inner.intrinsics
        self._started: float | None = None
        self._count = 0

    def grab(self) -> int | None:
        """Wait until the next frame is due; None at the end."""
        if self._inner.grab() is None:
            return None
        self.origin = self._inner.origin
        at = self._inner.media_time if self._own_times else self._count / self.fps
        self._count += 1
        now = time.monotonic()
        if self._started is None:
            self._started = now - (at or 0.0)
        rest = self._started + (at or 0.0) - now
        if rest > 0:
            time.sleep(rest)
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """The inner source's frame."""
        try:
            self._inner.retrieve(out)
        finally:
            self.frame_size = self._inner.frame_size

    def stats(self) -> SourceStats:
        """Of the inner source."""
        return self._inner.stats()

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()
