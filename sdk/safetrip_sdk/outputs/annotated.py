"""The annotated video of a run, and its recording, as outputs."""

from __future__ import annotations

import os

from safetrip_sdk.outputs.base import Shot
from safetrip_sdk.overlay import Overlay
from safetrip_sdk.recording.recorder import Recorder
from safetrip_sdk.video import VideoWriter

__all__ = ["AnnotatedVideo", "Recording"]


class AnnotatedVideo:
    """Draws each shot and writes it to a video file, which appears under its name when it is complete.

    Args:
        path, fps: see `VideoWriter`.
        overlay: draws.
    """

    pictures = True

    def __init__(self, path: str | os.PathLike[str], fps: float, overlay: Overlay) -> None:
        self._overlay = overlay
        self._writer = VideoWriter(path, fps)

    def write(self, shot: Shot) -> None:
        """Add a frame."""
        assert shot.frame is not None
        self._writer.write(self._overlay.draw(shot.frame, shot.prediction))

    def close(self) -> None:
        """Complete the file."""
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
