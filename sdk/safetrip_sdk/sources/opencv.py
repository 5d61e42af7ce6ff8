"""cv2.VideoCapture: files, cameras (V4L2), GStreamer pipelines and network streams."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetrip_sdk.errors import BackendUnavailableError, SourceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
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
