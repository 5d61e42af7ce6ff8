"""Network streams: opening one, and finding out why it does not open."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.opencv import import_cv2

__all__ = ["open_network", "require_found"]


def open_network(url: str, timeout: float) -> Any:
    """An open capture of a network stream.

    Args:
        url: rtsp://, http:// and the like.
        timeout: seconds for opening it and for each frame, where the library behind OpenCV takes one.

    Raises:
        SourceError: nobody answers, or what answers is no video.
    """
    cv2 = import_cv2()
    if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        limit = max(1, round(timeout * 1000))
        keys = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit)
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, list(keys))
    else:
        capture = cv2.VideoCapture(url)
    if not capture.isOpened():
        raise SourceError(f"{url}: cannot be opened; does the server run, and is the path right?")
    return capture


def require_found(url: str, timeout: float) -> None:
    """SourceError where an HTTP server answers that there is no such thing, or not for everybody.

    Whatever else keeps a stream from being opened may be over in a moment, and is no error here.
    """
    if not url.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(url, timeout=max(timeout, 1.0)):
            return
    except urllib.error.HTTPError as error:
        if 400 <= error.code < 500:
            raise SourceError(
                f"{url}: cannot be opened: the server answers {error.code} {error.reason}; is the path right?"
            ) from error
    except (OSError, ValueError, http.client.HTTPException):
        return
