"""A camera that needs no camera: a generated street at a given size and rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.errors import SourceError
from safetrip_sdk.manifest import MAX_SIDE
from safetrip_sdk.sources.base import FrameSource, SourceStats, other_size
from safetrip_sdk.sources.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SyntheticSource"]

UNPACED_FPS = 30.0
"""What passes for a second where frames come as fast as they are taken."""


class SyntheticSource(FrameSource):
    """A moving street (`sources.scene`), at a camera's pace, with the truth of every frame.

    Args:
        frame_size: (H, W).
        fps: frames a second; 0: as fast as they are taken. Frames nobody grabs in time are skipped, as a
            camera does.
        frames: how many; 0: without end.
    """

    def __init__(self, frame_size: tuple[int, int], fps: float = 30.0, frames: int = 0) -> None:
        height, width = frame_size
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and fps >= 0 and frames >= 0):
            raise SourceError(
                f"synthetic: want a size of 1 to {MAX_SIDE}, fps and frames of 0 or more, "
                f"not {width}x{height}, {fps:g} and {frames}"
            )
        self.name = f"synthetic://{width}x{height}?fps={fps:g}"
        self.frame_size = frame_size
        self.fps = fps
        self.live = fps > 0
        self._scene = Scene(height, width)
        self.intrinsics = self._scene.intrinsics
        self._frames = frames
        self._count = 0
        self._shown = -1  # number of the frame grabbed last, those that were skipped counted
        self._began = time.monotonic()

    def truth(self, size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels (ids of `scene.SCENE_CLASSES`) and depth of the frame grabbed last; see `Scene.truth`."""
        return self._scene.truth(self._seconds(), size)

    def _seconds(self) -> float:
        return max(self._shown, 0) / (self.fps or UNPACED_FPS)

    def grab(self) -> int | None:
        """Wait until the next frame is due."""
        if self._frames and self._count >= self._frames:
            return None
        self._shown += 1
        if self.fps:
            late = (time.monotonic() - self._began) * self.fps - (self._shown + 1)
            if late < 0:
                time.sleep(-late / self.fps)
            else:
                self._shown += int(late)
        self.origin = f"{self.name}#{self._shown}"
        self._count += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Draw the frame.

        Raises:
            FrameSizeError: `out` is not of the source's size.
        """
        size = (self._scene.height, self._scene.width)
        if out.shape[:2] != size:
            raise other_size(self.origin, size, out.shape)
        self._scene.draw(self._seconds(), out)

    def stats(self) -> SourceStats:
        """Frames given."""
        return SourceStats(frames=self._count)
