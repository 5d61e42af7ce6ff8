"""A film of a walk, for demonstrations: the camera moves on by a few centimetres a frame."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from safetrip_sdk import atomic
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
    DatasetError where this OpenCV cannot write the format, or the folder cannot be written.
    """
    target = Path(path)
    # The suffix stays the last one: it is what cv2 chooses the container by.
    temporary = atomic.sibling(target, target.suffix or ".mp4")
    codec = "MJPG" if target.suffix.lower() == ".avi" else "mp4v"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*codec), fps, size)
        if not writer.isOpened():
            raise DatasetError(
                f"{target}: this OpenCV cannot write {codec} video; use a name that ends in .avi"
            )
        try:
            for frame in render_sequence(seed, frames, size, step=speed / fps):
                writer.write(frame.image)
        finally:
            writer.release()
        os.replace(temporary, target)
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target
