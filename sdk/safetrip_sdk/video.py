"""Writing annotated video."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetrip_sdk import atomic
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.sources.opencv import import_cv2

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CODECS", "VideoWriter"]

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}

_PROBE = 1 << 16
"""Bytes: more than FFmpeg keeps before it writes, hence than a file lacks that could not be written."""


class VideoWriter:
    """A video file that appears under its name when it is complete (`close`).

    OpenCV does not say when its encoder cannot write: whether there is room is looked up before each frame,
    and at the end whether the file can be written at all.

    Args:
        path: .mp4, .avi or .mkv; replaced when it exists.
        fps: frames a second, above 0.

    Attributes:
        fps: may be set until the first frame is written.

    Raises:
        SafetripError: a suffix it does not know, a folder that is not there, or no encoder.
        OSError: from `write` and `close`: the disk is full, or what else keeps the file from being written.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise SafetripError(f"{self.path}: cannot write this kind of video; use {', '.join(CODECS)}")
        if not self.path.absolute().parent.is_dir():
            raise SafetripError(f"{self.path}: the folder {self.path.absolute().parent} does not exist")
        self._cv2 = import_cv2()
        self.fps = fps
        self._writer: Any = None
        self._temporary = atomic.sibling(self.path.absolute(), self.path.suffix)
        self.frames = 0

    def write(self, image: NDArray[np.uint8]) -> None:
        """Add a (H, W, 3) uint8 BGR frame; all of the size of the first."""
        size = (image.shape[1], image.shape[0])
        # An encoded frame is smaller than the frame, and the index at the end than the probe.
        if _room(self._temporary.parent) < image.nbytes + _PROBE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if self._writer is None:
            codec = self._cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
            self._writer = self._cv2.VideoWriter(str(self._temporary), codec, self.fps, size)
            if not self._writer.isOpened():
                self._require_writable()
                raise SafetripError(f"{self.path}: this OpenCV has no encoder for it; try a name with .avi")
            self._size = size
        if size != self._size:
            image = self._cv2.resize(image, self._size)
        self._writer.write(image)
        self.frames += 1

    def close(self) -> None:
        """Complete the file; nothing is made when no frame was written. Idempotent."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._require_writable()
            os.replace(self._temporary, self.path)

    def _require_writable(self) -> None:
        """Raises the OSError of which the encoder said nothing; the file is left as it is."""
        try:
            with open(self._temporary, "ab") as file:
                size = file.tell()
                try:
                    file.write(bytes(_PROBE))
                    file.flush()
                finally:
                    file.truncate(size)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def abandon(self) -> None:
        """Remove what was written; a file of that name stays as it was."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._temporary.unlink(missing_ok=True)


def _room(folder: Path) -> float:
    """Bytes that may still be written there; infinite where the file system does not say."""
    found = os.statvfs(folder)
    # What is kept back for the administrator is there for the administrator.
    free = found.f_bavail if os.geteuid() else found.f_bfree
    return free * found.f_frsize if found.f_blocks else math.inf
