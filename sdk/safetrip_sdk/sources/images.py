"""Image files: one, a folder, or a glob."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource, other_size
from safetrip_sdk.sources.opencv import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IMAGE_SUFFIXES", "ImageSource", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR; SourceError for a file that is missing, damaged or no image."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    return decode_image(np.frombuffer(data, np.uint8), str(path))


class ImageSource(FrameSource):
    """Image files of one size, in the order given; none is skipped in silence.

    Args:
        paths: at least one file.
        name: for messages.

    Raises:
        SourceError: no files, or none that can be read.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        if not paths:
            raise SourceError(f"{name}: no images ({', '.join(IMAGE_SUFFIXES)}) there")
        self.name = name
        self.paths = list(paths)
        self._next = 0
        self._held, self._image = _first_readable(self.paths)
        self.frame_size = self._image.shape[:2]

    def grab(self) -> int | None:
        """Decode the next file.

        Raises:
            SourceError: it cannot be read; the next call goes on with the file behind it.
        """
        if self._next >= len(self.paths):
            return None
        path = self.paths[self._next]
        self._next += 1
        if path != self._held:
            self._image = read_image(path)
            self._held = path
        self.origin = str(path)
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Copy the decoded image.

        Raises:
            FrameSizeError: it is not of the first one's size. `frame_size` is then its size, and the next
                `grab` gives it again, for a runtime that was opened anew.
        """
        if self._image.shape != out.shape:
            self.frame_size = self._image.shape[:2]
            self._next -= 1
            raise other_size(self.origin, self._image.shape, out.shape)
        np.copyto(out, self._image)


def _first_readable(paths: Sequence[Path]) -> tuple[Path, NDArray[np.uint8]]:
    """A damaged file is an error when its turn comes; where every one is, the first says why."""
    errors = []
    for path in paths:
        try:
            return path, read_image(path)
        except SourceError as error:
            errors.append(error)
    raise errors[0]
