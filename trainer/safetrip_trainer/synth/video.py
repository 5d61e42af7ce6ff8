"""A film of a walk, for demonstrations: the camera moves on by a few centimetres a frame."""

from __future__ import annotations

import os
from pathlib import Path

from safetrip_sdk.video import VideoWriter
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.synth.walk import render_sequence

__all__ = ["write_video"]


def write_video(
    path: str | os.PathLike[str],
    seed: int,
    frames: int = 90,
    size: tuple[int, int] = (960, 540),
    fps: float = 15.0,
    speed: float = 1.3,
) -> Path:
    """Write the walk of `seed`, `frames` images, at `speed` metres a second; the suffix names the format.

    A tree's walks have seeds of three numbers, so a seed of one number is a walk that no tree holds. Raises
    SafetripError where this OpenCV cannot write the format, DatasetError where the file cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = VideoWriter(target, fps)
        try:
            for frame in render_sequence(seed, frames, size, step=speed / fps):
                writer.write(frame.image)
            writer.close()
        finally:
            writer.abandon()  # of no effect on one that is complete
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target
