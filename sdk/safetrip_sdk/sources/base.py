"""What a source of frames is, and the adapter for anything one can iterate over."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import FrameSizeError, SourceError
from safetrip_sdk.frame import require_target, size_of

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

__all__ = ["FrameSource", "IterableSource", "SourceStats", "other_size"]


@dataclass(frozen=True)
class SourceStats:
    """What a source has been through since it was opened.

    Attributes:
        frames: given.
        reconnects: times it was opened anew after it had been lost.
        stalls: times it gave nothing for too long and was given up.
        damaged: frames that could not be decoded and were passed over.
        last_error: why it was lost the last time; empty when it never was.
    """

    frames: int = 0
    reconnects: int = 0
    stalls: int = 0
    damaged: int = 0
    last_error: str = ""


class FrameSource(ABC):
    """Frames of one size, taken in two steps: `grab` waits for one, `retrieve` writes it into given memory.

    The two steps let the runtime choose at the last moment where a frame goes: into a slot's (pinned) input
    memory, or over a frame that has become old. A context manager.

    Attributes:
        name: for messages: the URI or path.
        frame_size: (H, W) of its frames.
        live: True for a camera, whose frames grow old; False for files, of which none should be lost.
        origin: what the frame grabbed last is called (a file name, a frame number).
        fps: frames a second, as the source says; 0 where it does not.
        intrinsics: of the camera, where the source knows them.
        media_time: seconds from the first frame to the one grabbed last, in a recording with own times.
    """

    name: str = "source"
    frame_size: tuple[int, int] | None = None
    live: bool = False
    origin: str = ""
    fps: float = 0.0
    intrinsics: CameraIntrinsics | None = None
    media_time: float | None = None

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def grab(self) -> int | None:
        """Wait for the next frame; its time (`time.monotonic_ns`), or None at the end (or SourceError)."""

    @abstractmethod
    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Write the frame grabbed last into `out`, (H, W, 3) uint8 BGR, C-contiguous. May raise SourceError,
        FrameError."""

    def read_into(self, out: NDArray[np.uint8]) -> int | None:
        """`grab` and `retrieve` in one: write the next frame into `out`, return its time or None at the end.

        Args:
            out: (H, W, 3) uint8, C-contiguous and writable, of `frame_size`; it gets the frame in BGR.

        Raises:
            FrameError: `out` is no such array; no frame is lost by it.
            FrameSizeError: the frame is of another size, which `frame_size` then says.
            SourceError: the source fails.
        """
        require_target(out, self.frame_size)
        captured = self.grab()
        if captured is not None:
            self.retrieve(out)
        return captured

    def stats(self) -> SourceStats:
        """What it has been through; of interest for cameras, which come and go."""
        return SourceStats()

    def close(self) -> None:  # noqa: B027 (a source without a device has nothing to close)
        """Let go of the device or file; idempotent."""

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def other_size(origin: str, size: tuple[int, ...], before: tuple[int, ...]) -> FrameSizeError:
    """The error for a frame of `size` (H, W) where those before were of another."""
    return FrameSizeError(
        f"{origin}: is {size[0]}x{size[1]} (height x width), the frames before it {before[0]}x{before[1]}; "
        "use Runtime.reopen(frame_size=...)",
        (int(size[0]), int(size[1])),
    )


_END = object()
"""What `next` gives at the end: an iterable may well give None, which is no frame and must be said."""


class IterableSource(FrameSource):
    """Any iterable of (H, W, 3) uint8 arrays. The first frame is taken at once: it says the size."""

    def __init__(self, frames: Iterable[NDArray[np.uint8]], name: str = "frames") -> None:
        self.name = name
        self._frames = iter(frames)
        self._count = 0
        self._current: Any = next(self._frames, _END)
        self._peeked = True
        if self._current is _END:
            raise SourceError(f"{name}: gives no frame")
        self.frame_size = size_of(self._current, f"{name}[0]")

    def grab(self) -> int | None:
        """The next item's time: now."""
        if not self._peeked:
            self._current = next(self._frames, _END)
        self._peeked = False
        self.origin = f"{self.name}[{self._count}]"
        self._count += 1
        return None if self._current is _END else time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Copy the item.

        Raises:
            FrameError: it is no frame.
            FrameSizeError: it is not of the first one's size. `frame_size` is then its size, and the next
                `grab` gives it again, for a runtime that was opened anew.
        """
        frame = self._current
        size = size_of(frame, self.origin)
        if size != out.shape[:2]:
            self.frame_size = size
            self._peeked = True
            self._count -= 1
            raise other_size(self.origin, size, out.shape)
        np.copyto(out, frame)
