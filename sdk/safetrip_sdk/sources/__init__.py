"""Where frames come from: `open_source(uri)`.

==============================================  =======================================================
URI                                             source, and its options
==============================================  =======================================================
``v4l2:///dev/video0``, ``/dev/video0``, ``0``  camera: ``?width=1920&height=1080&fps=30&format=MJPG``
``csi://0``                                     a Jetson's CSI camera, with an OpenCV that has GStreamer:
                                                ``?width=&height=&fps=&flip=2&mode=``
``rtsp://...``, ``http://...``                  network stream; options behind ``#``. What an HTTP server
                                                says the length of is a file: ``#realtime=1``
``gst:v4l2src ! ... ! appsink``                 any GStreamer pipeline that ends in BGR
``street.mp4``, ``file:///data/street.mp4``     video; ``?realtime=1&fps=25`` (with ``file://``)
``photo.jpg``, ``photos/``, ``photos/*.png``    image file, folder (sorted by name), glob
``mcap://run.mcap``                             recording: ``?realtime=1&topic=/camera/image_raw``
``synthetic://1920x1080``                       generated street (640x480 by default): ``?fps=30&frames=100``
==============================================  =======================================================

Cameras and network streams have a thread of their own, give the newest frame, and come back after a loss:
``stall=5`` (seconds without a frame after which they are opened anew), ``give_up=60`` (seconds after which
that is an error; 0: never). The first frame is waited for as long, too. What is plainly misnamed is an error
at once; where no ``give_up`` is given, so is a device that is not there.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.base import FrameSource, IterableSource, SourceStats
from safetrip_sdk.sources.live import GIVE_UP_AFTER, STALL_AFTER, LiveSource
from safetrip_sdk.sources.uri import NETWORK, SourceUri, flag, four_letters, number, parse_uri, whole

__all__ = ["FrameSource", "IterableSource", "SourceStats", "as_source", "open_source"]

_LIVE = {"stall": number, "give_up": number}


def open_source(uri: str | os.PathLike[str] | int, realtime: bool = False) -> FrameSource:
    """Open a source of frames by its URI (see the module's table).

    Args:
        uri: what to open; a number is that camera's, as in `"0"`.
        realtime: play a file at its own pace, as a camera would give it.

    Raises:
        SourceError: it does not exist, is no image or video, gives no frame, or has an unknown option.
        BackendUnavailableError: a library that this kind of source needs is not installed.
    """
    # A path object is a path, whatever it looks like.
    if isinstance(uri, os.PathLike):
        parsed = SourceUri(os.fspath(uri), "path", os.fspath(uri), {})
    elif isinstance(uri, (str, int)):
        parsed = parse_uri(str(uri))
    else:
        raise SourceError(f"no address of a source: {uri!r}; give a URI, a path or a camera's number")
    opener: Callable[[SourceUri], FrameSource] = _OPENERS[
        "network" if parsed.scheme in NETWORK else parsed.scheme
    ]
    source = opener(parsed)
    return source if source.live else _paced(source, {"realtime": realtime})


def as_source(source: Any) -> FrameSource:
    """A source of whatever the caller has: a source, a URI, a camera's number, a cv2.VideoCapture, frames."""
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, (str, os.PathLike, int)):
        return open_source(source)
    if hasattr(source, "grab") and hasattr(source, "retrieve"):
        from safetrip_sdk.sources.opencv import import_cv2
        from safetrip_sdk.sources.video import VideoSource

        # A capture that knows its number of frames is a file.
        live = source.get(import_cv2().CAP_PROP_FRAME_COUNT) <= 0
        return VideoSource(source, "cv2.VideoCapture", live=live)
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise SourceError(f"no source of frames: {type(source).__name__}; give open_source(uri) or an iterable")


def _live(uri: SourceUri, options: dict[str, Any], opener: Callable[[], Any]) -> LiveSource:
    return LiveSource(
        uri.text, opener, options.pop("stall", STALL_AFTER), options.pop("give_up", GIVE_UP_AFTER)
    )


def _paced(source: FrameSource, options: Mapping[str, Any]) -> FrameSource:
    """A file's source at its own pace, or at that of `fps`, where the options ask for it."""
    if not options.get("realtime") and not options.get("fps"):
        return source
    from safetrip_sdk.sources.paced import PacedSource

    return PacedSource(source, options.get("fps", 0.0))


def _first(capture: Any, opener: Callable[[], Any]) -> Callable[[], Any]:
    """An opener that gives what is open already, and opens from then on."""
    waiting = [capture]
    return lambda: waiting.pop() if waiting else opener()


def _open_v4l2(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.opencv import open_v4l2, require_v4l2

    known = {"width": whole, "height": whole, "fps": number, "format": four_letters, **_LIVE}
    options = uri.read_options(known)
    if not re.fullmatch(r"\d+|/.+", uri.target):
        raise SourceError(f"{uri.text}: want v4l2:///dev/video0 or v4l2://0")
    require_v4l2(uri.target, may_come="give_up" in options)
    mode = {key: options[key] for key in ("width", "height", "fps") if key in options}
    return _live(uri, options, partial(open_v4l2, uri.target, pixels=options.get("format"), **mode))


def _open_csi(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.csi import csi_pipeline
    from safetrip_sdk.sources.opencv import open_pipeline, require_gstreamer

    known = {"width": whole, "height": whole, "fps": number, "flip": whole, "mode": whole}
    options = uri.read_options({**known, **_LIVE})
    if not uri.target.isdigit():
        raise SourceError(f"{uri.text}: want csi://0, the number of the sensor")
    require_gstreamer()
    pipeline = csi_pipeline(int(uri.target), **{key: options[key] for key in known if key in options})
    return _live(uri, options, partial(open_pipeline, pipeline))


def _open_gst(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.opencv import open_pipeline

    # It has no options: whoever types a pipeline wants to know at once that it does not start.
    opener = partial(open_pipeline, uri.target)
    return _live(uri, {}, _first(opener(), opener))


def _open_network(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.network import is_file, open_network, require_hope
    from safetrip_sdk.sources.opencv import import_cv2
    from safetrip_sdk.sources.video import VideoSource

    options = uri.read_options({**_LIVE, "realtime": flag})
    stall = options.get("stall", STALL_AFTER)
    opener = partial(open_network, uri.target, stall)
    try:
        capture = opener()
    except SourceError:
        if "give_up" not in options:
            require_hope(uri.target, stall)
        return _live(uri, dict(options), opener)  # nobody answers yet
    if capture.get(import_cv2().CAP_PROP_FRAME_COUNT) > 0 or is_file(uri.target):
        # A file that a server hands out ends, and does not come back.
        return _paced(VideoSource(capture, uri.text, live=False, stall_after=stall), options)
    return _live(uri, dict(options), _first(capture, opener))


def _open_file(uri: SourceUri) -> FrameSource:
    options = uri.read_options({"realtime": flag, "fps": number})
    return _paced(_open_path(uri), options)


def _open_path(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.images import IMAGE_SUFFIXES, ImageSource

    text = uri.target
    path = Path(text)
    if path.is_dir():
        entries = list(path.iterdir())
        files = sorted(item for item in entries if item.suffix.lower() in IMAGE_SUFFIXES)
        if not files and any(item.is_dir() for item in entries):
            raise SourceError(f"{text}: folders, but no images there; give a glob, such as '{path}/**/*.jpg'")
        return ImageSource(files, text)
    if path.exists():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource([path], text)
        if path.suffix.lower() == ".mcap":
            return _open_mcap(uri)
        from safetrip_sdk.sources.opencv import import_cv2
        from safetrip_sdk.sources.video import VideoSource

        return VideoSource(import_cv2().VideoCapture(text), text, live=False)
    bare, _, options = text.partition("?")
    if options and os.path.exists(bare):
        raise SourceError(f"{text}: a file's options want file:// before it: file://{bare}?{options}")
    if glob.has_magic(text):
        found = sorted(Path(item) for item in glob.glob(text, recursive=True))
        return ImageSource([item for item in found if item.suffix.lower() in IMAGE_SUFFIXES], text)
    raise SourceError(f"{text}: no such file or folder, and no URI that open_source knows")


def _open_mcap(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.recording.source import RecordingSource

    options = uri.read_options({"realtime": flag, "topic": str})
    return _paced(RecordingSource(uri.target, options.get("topic")), options)


def _open_synthetic(uri: SourceUri) -> FrameSource:
    from safetrip_sdk.sources.synthetic import SyntheticSource

    options = uri.read_options({"fps": number, "frames": whole})
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", uri.target or "640x480")
    if match is None:
        raise SourceError(f"{uri.text}: want synthetic://WIDTHxHEIGHT?fps=30&frames=100")
    return SyntheticSource((int(match[2]), int(match[1])), **options)


_OPENERS: dict[str, Callable[[SourceUri], FrameSource]] = {
    "v4l2": _open_v4l2,
    "csi": _open_csi,
    "gst": _open_gst,
    "network": _open_network,
    "file": _open_file,
    "path": _open_path,
    "mcap": _open_mcap,
    "synthetic": _open_synthetic,
}
