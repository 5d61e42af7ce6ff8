"""cv2.VideoCapture: files, cameras (V4L2), GStreamer pipelines and network streams."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import BackendUnavailableError, SourceError
from safetrip_sdk.sources.base import FrameSource, SourceStats, other_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "VideoSource",
    "decode_image",
    "encode_image",
    "has_gstreamer",
    "require_gstreamer",
    "require_v4l2",
    "import_cv2",
    "open_pipeline",
    "open_v4l2",
]

log = logging.getLogger(__name__)


def import_cv2() -> Any:
    """The cv2 module; BackendUnavailableError, with what to install, where there is none."""
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailableError(
            f"OpenCV: not installed ({error}); pip install opencv-python, or on a Jetson, where CSI cameras "
            "need the system's: sudo apt install python3-opencv"
        ) from error
    return cv2


def decode_image(data: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR of an image file's bytes, (N,) uint8; SourceError for what is no image."""
    cv2 = import_cv2()
    image: Any = None
    if data.size:
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise SourceError(f"{name}: {error}") from error
    if image is None:
        raise SourceError(f"{name}: damaged, or no image that OpenCV reads; replace or remove the file")
    return image  # type: ignore[no-any-return]


def encode_image(frame: NDArray[np.uint8], form: str, quality: int = 95) -> NDArray[np.uint8]:
    """The bytes, (N,) uint8, of a JPEG (of that quality) or PNG (fastest compression) file of a BGR frame."""
    cv2 = import_cv2()
    settings = {"jpeg": (cv2.IMWRITE_JPEG_QUALITY, quality), "png": (cv2.IMWRITE_PNG_COMPRESSION, 1)}
    ok, data = cv2.imencode({"jpeg": ".jpg", "png": ".png"}[form], frame, list(settings[form]))
    if not ok:
        raise SourceError(f"a frame of {frame.shape} cannot be written as {form}")
    return data.reshape(-1)  # type: ignore[no-any-return]


def _v4l2_path(device: str) -> Path:
    return Path(f"/dev/video{device}" if device.isdigit() else device)


def require_v4l2(device: str, may_come: bool) -> None:
    """SourceError for what is plainly no camera; `may_come`: what is not there may be plugged in later."""
    path = _v4l2_path(device)
    if path.exists() and not path.is_char_device():
        raise SourceError(f"{device}: cannot be opened: {path} is no camera; videos are given by their path")
    if not path.exists() and not (may_come and path.is_relative_to("/dev")):
        raise SourceError(f"{_no_device(device, path)} (?give_up=SECONDS waits for one)")


def _no_device(device: str, path: Path) -> str:
    there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
    return f"{device}: cannot be opened: there is no {path}; cameras here: {there}"


def open_v4l2(
    device: str,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    pixels: str | None = None,
) -> Any:
    """An open capture of a V4L2 camera.

    Args:
        device: an index or a path such as /dev/video0.
        width, height, fps: asked of the driver, which may give others (that is logged).
        pixels: four-letter code of the pixel format: MJPG for high rates over USB.

    Raises:
        SourceError: there is no such camera, or it cannot be opened.
    """
    cv2 = import_cv2()
    path = _v4l2_path(device)
    if not path.exists():
        raise SourceError(_no_device(device, path))
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(
            f"{path}: cannot be opened; is it a camera, readable (group video), and not in use?"
        )
    # The driver's queue holds old frames: one is enough. The format decides which sizes there are.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if pixels is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*pixels))
    asked = {
        "width": (cv2.CAP_PROP_FRAME_WIDTH, width),
        "height": (cv2.CAP_PROP_FRAME_HEIGHT, height),
        "fps": (cv2.CAP_PROP_FPS, fps),
    }
    for name, (key, value) in asked.items():
        if value is not None:
            capture.set(key, value)
            given = capture.get(key)
            if abs(given - value) > 0.5:
                log.warning("%s: %s=%g was asked for, the driver gives %g", path, name, value, given)
    return capture


def has_gstreamer() -> bool:
    """Whether this OpenCV can run GStreamer pipelines."""
    cv2 = import_cv2()
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def require_gstreamer() -> None:
    """SourceError, with what to do, where OpenCV has no GStreamer."""
    if not has_gstreamer():
        raise SourceError(
            f"this OpenCV ({import_cv2().__version__}) has no GStreamer, which CSI cameras and gst: need; "
            "PyPI's wheels never have it. On a Jetson: pip uninstall opencv-python, sudo apt install "
            "python3-opencv, and make the virtual environment with --system-site-packages"
        )


def open_pipeline(pipeline: str) -> Any:
    """An open capture of a GStreamer pipeline.

    Raises:
        SourceError: this OpenCV has no GStreamer, or the pipeline does not start.
    """
    cv2 = import_cv2()
    require_gstreamer()
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            f"the GStreamer pipeline does not start: {pipeline}; try it with gst-launch-1.0, which says why"
        )
    return capture


class VideoSource(FrameSource):
    """A cv2.VideoCapture as a source, in the caller's thread; decodes straight into the memory it is given.

    Args:
        capture: an open cv2.VideoCapture.
        name: for messages.
        live: a camera: reading nothing is then an error, not the end. (`LiveSource` also comes back.)

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
            if not live:
                raise SourceError(f"{name}: no image, video or recording that can be read, or a damaged one")
            raise SourceError(f"{name}: cannot be opened; is it there, readable, and not in use?")
        # Drivers often do not deliver what the properties promise: look at a frame.
        if not self._grab():
            capture.release()
            raise SourceError(f"{name}: gives no frame; damaged file, or a camera that another program uses?")
        # A frame that is decoded and was not taken: the first, or one of another size than was wanted.
        self._held: NDArray[np.uint8] | None = self._decode(None)
        self.frame_size = self._held.shape[:2]
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
        if self._held is None and not self._grab():
            if self.live:
                raise SourceError(f"{self.name}: camera gone after {self._count} frames; is it plugged in?")
            return None
        self.origin = f"{self.name}#{self._count}"
        self._count += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Decode into `out`.

        Raises:
            FrameSizeError: the frame is of another size. `frame_size` is then its size, and the next `grab`
                gives it again, for a runtime that was opened anew.
        """
        image = self._decode(out) if self._held is None else self._held
        if image.shape != out.shape:
            self._held, self.frame_size = image, image.shape[:2]
            self._count -= 1
            raise other_size(self.origin, image.shape, out.shape)
        self._held = None
        # OpenCV writes into the array given when shape and type fit, and makes a new one when they do not.
        if image is not out and not np.shares_memory(image, out):
            np.copyto(out, image)

    def _decode(self, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        ok, image = self._capture.retrieve(out)
        if not ok:
            raise SourceError(f"{self.name}: frame {self._count} cannot be decoded")
        if image.dtype != np.uint8 or image.ndim != 3:
            raise SourceError(
                f"{self.name}: frame {self._count} is {image.shape} {image.dtype}, no colour image of 8 bits"
            )
        return image  # type: ignore[no-any-return]

    def stats(self) -> SourceStats:
        """Frames given."""
        return SourceStats(frames=self._count)

    def close(self) -> None:
        """Release the capture; idempotent."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
