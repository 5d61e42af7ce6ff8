"""Where frames come from: `open_source(uri)`.

====================================  =====================================================================
URI                                   source
====================================  =====================================================================
``street.mp4``                        video file
``photo.jpg``, ``photos/``, ``*.png``  image file, folder (sorted by name), glob
``0``, ``/dev/video0``                camera (V4L2); ``camera://0?width=1280&height=720&fps=30``
``rtsp://...``, ``http://...``        network stream
``gst:nvarguscamerasrc ! ...``        GStreamer pipeline (CSI cameras), with an OpenCV that has GStreamer
``synthetic://1920x1080?fps=30``      moving gradients, no camera needed
====================================  =====================================================================
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource, IterableSource

__all__ = ["FrameSource", "IterableSource", "as_source", "open_source"]


def open_source(uri: str | os.PathLike[str]) -> FrameSource:
    """Open a source of frames by its URI (see the module's table).

    Raises:
        SourceError: it does not exist, is no image or video, or gives no frame.
        BackendUnavailableError: OpenCV is not installed.
    """
    text = os.fspath(uri)
    if text.startswith("synthetic://"):
        return _open_synthetic(text)
    if text.startswith("gst:"):
        return _open_video(text, text[4:], live=True, api="CAP_GSTREAMER")
    if text.isdigit() or text.startswith(("/dev/video", "camera://")):
        return _open_camera(text)
    if re.match(r"(rtsp|rtmp|http|https|udp|tcp)://", text):
        return _open_video(text, text, live=True)
    return _open_path(text.removeprefix("file://"))


def as_source(source: Any) -> FrameSource:
    """A source of whatever the caller has: a source, a URI, a cv2.VideoCapture, an iterable of frames."""
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, (str, os.PathLike)):
        return open_source(source)
    if hasattr(source, "grab") and hasattr(source, "retrieve"):
        from safetrip_sdk.sources.opencv import VideoSource, import_cv2

        # A capture that knows its number of frames is a file.
        live = source.get(import_cv2().CAP_PROP_FRAME_COUNT) <= 0
        return VideoSource(source, "cv2.VideoCapture", live=live)
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise SourceError(f"no source of frames: {type(source).__name__}; give open_source(uri) or an iterable")


def _open_path(text: str) -> FrameSource:
    from safetrip_sdk.sources.images import IMAGE_SUFFIXES, ImageSource

    path = Path(text)
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES)
        return ImageSource(files, text)
    if path.exists():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource([path], text)
        return _open_video(text, text, live=False)
    if glob.has_magic(text):
        files = sorted(Path(item) for item in glob.glob(text, recursive=True))
        return ImageSource([item for item in files if item.suffix.lower() in IMAGE_SUFFIXES], text)
    raise SourceError(f"{text}: no such file or folder, and no URI that open_source knows")


def _open_video(name: str, what: str | int, live: bool, api: str = "CAP_ANY") -> FrameSource:
    from safetrip_sdk.sources.opencv import VideoSource, import_cv2

    cv2 = import_cv2()
    return VideoSource(cv2.VideoCapture(what, getattr(cv2, api)), name, live)


def _open_camera(text: str) -> FrameSource:
    from safetrip_sdk.sources.opencv import VideoSource, import_cv2

    cv2 = import_cv2()
    parts = urlsplit(text)
    device = text if parts.scheme != "camera" else parts.netloc + parts.path
    options = dict(parse_qsl(parts.query)) if parts.scheme == "camera" else {}
    properties = {
        "width": cv2.CAP_PROP_FRAME_WIDTH,
        "height": cv2.CAP_PROP_FRAME_HEIGHT,
        "fps": cv2.CAP_PROP_FPS,
    }
    unknown = sorted(set(options) - set(properties))
    if unknown:
        raise SourceError(f"{text}: unknown option {', '.join(unknown)}; there are: {', '.join(properties)}")
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device, cv2.CAP_V4L2)
    # The driver's queue holds old frames: one is enough.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    for key, value in options.items():
        capture.set(properties[key], _number(text, key, value))
    return VideoSource(capture, text, live=True)


def _open_synthetic(text: str) -> FrameSource:
    from safetrip_sdk.sources.synthetic import SyntheticSource

    parts = urlsplit(text)
    match = re.fullmatch(r"(\d+)x(\d+)", parts.netloc)
    options = dict(parse_qsl(parts.query))
    if match is None or set(options) - {"fps", "frames"}:
        raise SourceError(f"{text}: want synthetic://WIDTHxHEIGHT?fps=30&frames=100")
    width, height = int(match[1]), int(match[2])
    values = {key: _number(text, key, value) for key, value in options.items()}
    return SyntheticSource((height, width), values.get("fps", 30.0), int(values.get("frames", 0)))


def _number(text: str, key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise SourceError(f"{text}: {key}={value!r} is no number") from None
