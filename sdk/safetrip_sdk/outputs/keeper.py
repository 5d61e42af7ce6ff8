"""Keeps each frame until its prediction comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from safetrip_sdk.errors import FrameSizeError
from safetrip_sdk.sources.base import FrameSource, SourceStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["FrameKeeper", "KeptFrame"]


class KeptFrame(NamedTuple):
    """What a prediction was made of.

    Attributes:
        origin: what the source calls the frame; empty where it is no longer known.
        frame: (H, W, 3) uint8 BGR, a copy, nobody else's; None where it was not kept.
        recorded: the result that a recording has of it; None where there is none.
    """

    origin: str
    frame: NDArray[np.uint8] | None
    recorded: Any


def _always() -> bool:
    return True


class FrameKeeper(FrameSource):
    """A source that keeps each frame's picture and origin until its prediction comes.

    >>> with open_source("0") as source:                        # doctest: +SKIP
    ...     keeper = FrameKeeper(source)
    ...     for prediction in runtime.stream(keeper):
    ...         frame = keeper.take(prediction).frame

    Args:
        inner: the source; not closed with this.
        pictures: asked at each frame whether to keep a copy of it, which costs the copying.
        limit: frames to give at most; None: all.
        slots: of the runtime: they say how many frames can be under way. What is never taken is forgotten
            when 64 others (or, if that is more, three for each slot) have come.
    """

    def __init__(
        self,
        inner: FrameSource,
        pictures: Callable[[], bool] = _always,
        limit: int | None = None,
        slots: int = 2,
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
        self._kept: deque[tuple[int, KeptFrame]] = deque(maxlen=most)

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
        recorded = getattr(self._inner, "recorded", None)
        self._kept.append((self._captured, KeptFrame(self._inner.origin, picture, recorded)))

    def take(self, prediction: Prediction) -> KeptFrame:
        """What the prediction was made of, once; frames before it are forgotten: take them in their order."""
        while self._kept and self._kept[0][0] <= prediction.captured_at:
            captured, kept = self._kept.popleft()
            if captured == prediction.captured_at:
                return kept
        return KeptFrame("", None, None)

    def stats(self) -> SourceStats:
        """Of the inner source."""
        return self._inner.stats()
