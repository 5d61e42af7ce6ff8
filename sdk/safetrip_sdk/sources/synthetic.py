"""A camera that needs no camera: moving gradients at a given size and rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SyntheticSource"]


class SyntheticSource(FrameSource):
    """Frames that differ from one to the next, at a camera's pace.

    Args:
        frame_size: (H, W).
        fps: frames a second; 0: as fast as they are taken. Frames nobody grabs in time are skipped, as a
            camera does.
        frames: how many; 0: without end.
    """

    def __init__(self, frame_size: tuple[int, int], fps: float = 30.0, frames: int = 0) -> None:
        height, width = frame_size
        if height < 1 or width < 1 or fps < 0 or frames < 0:
            raise SourceError(
                f"synthetic: want a size of 1 or more, fps and frames of 0 or more, not {frame_size}"
            )
        self.name = f"synthetic://{width}x{height}?fps={fps:g}"
        self.frame_size = frame_size
        self.fps = fps
        self.live = fps > 0
        self._frames = frames
        self._count = 0
        ramp = (
            np.arange(width, dtype=np.uint16)[None, :, None]
            + np.arange(height, dtype=np.uint16)[:, None, None]
        )
        self._picture = (ramp * np.array([1, 2, 3], dtype=np.uint16)).astype(np.uint8)
        self._due = time.monotonic()

    def grab(self) -> int | None:
        """Wait until the next frame is due."""
        if self._frames and self._count >= self._frames:
            return None
        if self.fps:
            now = time.monotonic()
            period = 1.0 / self.fps
            self._due += period
            if self._due > now:
                time.sleep(self._due - now)
            else:
                self._due = now - (now - self._due) % period
        self.origin = f"{self.name}#{self._count}"
        self._count += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Write the picture, moved on by as many columns as frames were grabbed."""
        shift = self._count % out.shape[1]
        split = out.shape[1] - shift
        out[:, :split] = self._picture[:, shift:]
        out[:, split:] = self._picture[:, :shift]
