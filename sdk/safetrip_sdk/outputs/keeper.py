"""Keeps each frame until its prediction comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safetrip_sdk.errors import FrameSizeError
from safetrip_sdk.sources.base import FrameSource, SourceStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FrameKeeper"]


class FrameKeeper(FrameSource):
    """A source that remembers each frame's origin, and its picture when asked, until its prediction comes.

    Args:
        inner: the source; not closed with this.
        pictures: asked at each frame whether to keep a copy of it.
        limit: frames to give at most; None: all.
        slots: of the runtime: they say how many frames can be under way.
    """

    def __init__(
        self, inner: FrameSource, pictures: Callable[[], bool], limit: int | None = None, slots: int = 2
    ) -> None:
        self._inner = inner
        self._pictures = pictures
        self._rest = limit
        self.name, self.live, self.fps = inner.name, inner.live, inner.fps
        self.intrinsics = inner.intrinsics
        self.frame_size = inner.frame_size
        self._captured = 0
        # A stream has at most two results a slot waiting, a frame in each, one in its spare buffer, and one
        # just taken. Frames that the runtime dropped are here, too, and are passed over.
        most = max(64, 3 * slots + 2)
        self._kept: deque[tuple[int, str, NDArray[np.uint8] | None, Any]] = deque(maxlen=most)

    def grab(self) -> int | None:
        """The inner source's next frame; None at its end or the limit."""
        if self._rest == 0 and not self.live:
            return None
        captured = self._inner.grab()
        if captured is not None:
            self._captured = captured
            if self._rest is not None:
                self._rest -= 1
        return captured

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """The inner source's frame, copied where a picture is wanted."""
        try:
            self._inner.retrieve(out)
        except FrameSizeError:
            self.frame_size = self._inner.frame_size
            if self._rest is not None:
                self._rest += 1
            raise
        picture = out.copy() if self._pictures() else None
        self._kept.append(
            (self._captured, self._inner.origin, picture, getattr(self._inner, "recorded", None))
        )

    def take(self, captured: int) -> tuple[str, NDArray[np.uint8] | None, Any]:
        """Origin, picture and recorded result (of a recording) of the frame captured then."""
        while self._kept:
            time, *rest = self._kept.popleft()
            if time == captured:
                return rest[0], rest[1], rest[2]
        return "", None, None

    def stats(self) -> SourceStats:
        """Of the inner source."""
        return self._inner.stats()
