"""Video files, cameras and network streams through cv2.VideoCapture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import BackendUnavailableError, SourceError
from safetrip_sdk.sources.base import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VideoSource", "import_cv2"]


def import_cv2() -> Any:
    """The cv2 module; BackendUnavailableError, with what to install, where there is none."""
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailableError(
            f"OpenCV: not installed ({error}); pip install 'safetrip[camera]'"
        ) from error
    return cv2


class VideoSource(FrameSource):
    """A cv2.VideoCapture as a source; decodes straight into the memory it is given.

    Args:
        capture: an open cv2.VideoCapture.
        name: for messages.
        live: a camera or network stream: reading nothing is then an error, not the end.

    Raises:
        SourceError: it is not open, or gives no first frame.
    """

    def __init__(self, capture: Any, name: str, live: bool) -> None:
        cv2 = import_cv2()
        self.name = name
        self.live = live
        self._capture = capture
        self._count = 0
        if not capture.isOpened():
            raise SourceError(f"{name}: cannot be opened; is it there, readable, and not in use?")
        # Drivers often do not deliver what the properties promise: look at a frame.
        if not self._grab():
            capture.release()
            raise SourceError(f"{name}: gives no frame; damaged file, or a camera that another program uses?")
        self._first: NDArray[np.uint8] | None = self._decode(None)
        self.frame_size = self._first.shape[:2]
        self.fps = float(capture.get(cv2.CAP_PROP_FPS) or 0.0)

    @property
    def frame_count(self) -> int | None:
        """Frames in a file, as its header says; None for what has no end."""
        count = int(self._capture.get(import_cv2().CAP_PROP_FRAME_COUNT)) if self._capture else 0
        return None if self.live or count <= 0 else count

    def _grab(self) -> bool:
        return self._capture is not None and bool(self._capture.grab())

    def grab(self) -> int | None:
        """Wait for the next frame; None at a file's end.

        Raises:
            SourceError: a live source stopped.
        """
        if self._first is None and not self._grab():
            if self.live:
                raise SourceError(f"{self.name}: camera gone after {self._count} frames; is it plugged in?")
            return None
        self.origin = f"{self.name}#{self._count}"
        self._count += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Decode into `out`."""
        if self._first is not None:
            np.copyto(out, self._first)
            self._first = None
            return
        self._decode(out)

    def _decode(self, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        ok, image = self._capture.retrieve(out)
        if not ok:
            raise SourceError(f"{self.name}: frame {self._count} cannot be decoded")
        # OpenCV writes into the array given when shape and type fit, and makes a new one when they do not.
        if out is not None and image is not out and not np.shares_memory(image, out):
            if image.shape != out.shape or image.dtype != np.uint8:
                raise SourceError(
                    f"{self.name}: frame {self._count} is {image.shape} {image.dtype}, "
                    f"the first was {out.shape} uint8; open the source again"
                )
            np.copyto(out, image)
        return image  # type: ignore[no-any-return]

    def close(self) -> None:
        """Release the capture; idempotent."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
