"""The annotated video of a run, and its recording, as outputs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safetrip_sdk.outputs.base import Shot
from safetrip_sdk.overlay import Overlay, shrink
from safetrip_sdk.recording.recorder import Recorder
from safetrip_sdk.video import VideoWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WIDEST", "AnnotatedVideo", "Recording"]


WIDEST = 1280
"""Pixels, of a video: wider frames are made smaller by a whole number, and cost a third to write."""

_MEASURED = 16
"""Frames that wait for the rate of a video to be known."""


class AnnotatedVideo:
    """Draws each shot and writes it to a video file, which appears under its name when it is complete.

    Args:
        path: see `VideoWriter`.
        fps: frames a second; None: as the first frames were captured, so that the video runs at the pace of
            the world although frames were left out.
        overlay: draws.
        widest: pixels; wider frames are made smaller (`shrink`); 0: full size.
    """

    pictures = True

    def __init__(
        self, path: str | os.PathLike[str], fps: float | None, overlay: Overlay, widest: int = WIDEST
    ) -> None:
        self._overlay = overlay
        self._widest = widest
        self._writer = VideoWriter(path, fps or 10.0)
        self._first: list[tuple[int, NDArray[np.uint8]]] | None = [] if fps is None else None

    def write(self, shot: Shot) -> None:
        """Add a frame."""
        assert shot.frame is not None
        image = self._overlay.draw(shrink(shot.frame, self._widest), shot.prediction)
        if self._first is None:
            self._writer.write(image)
            return
        self._first.append((shot.prediction.captured_at, image))
        if len(self._first) == _MEASURED:
            self._begin(self._first)

    def _begin(self, first: list[tuple[int, NDArray[np.uint8]]]) -> None:
        """Write the frames that waited, at their rate."""
        self._first = None
        if len(first) > 1 and (taken := (first[-1][0] - first[0][0]) / 1e9) > 0:
            self._writer.fps = min(max((len(first) - 1) / taken, 1.0), 120.0)
        for _, image in first:
            self._writer.write(image)

    def close(self) -> None:
        """Complete the file."""
        if self._first:
            self._begin(self._first)
        self._writer.close()

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.abandon()


class Recording:
    """Writes each shot into a recording; what is there stays, whatever happens."""

    pictures = True

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, shot: Shot) -> None:
        """Add a frame and its results."""
        assert shot.frame is not None
        self._recorder.write(shot.frame, shot.prediction, shot.origin)

    def close(self) -> None:
        """Complete the file."""
        self._recorder.close()

    abandon = close
