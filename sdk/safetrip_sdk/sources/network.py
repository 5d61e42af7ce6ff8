"""Network streams: opening one, and asking an HTTP server what it is, or why it does not open."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any

from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.opencv import import_cv2

__all__ = ["is_file", "open_network", "require_hope"]

ANSWER_WITHIN = 2.0
"""Seconds that a server has to say what it hands out; some cameras serve one client, and that is OpenCV."""

_HTTP = ("http://", "https://")

_PLAYLISTS = (b"#EXTM3U", b"<", b"v=0")
"""How HLS, DASH and SDP begin: short texts that name a stream, which need not end."""


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


def require_hope(url: str, timeout: float) -> None:
    """SourceError where an HTTP server's answer says that waiting for a stream to open is in vain.

    There is no such thing, or not for everybody, or it is something else. Whatever else keeps a stream from
    being opened may be over in a moment, and is no error here.
    """
    if not url.startswith(_HTTP):
        return
    try:
        with urllib.request.urlopen(url, timeout=max(timeout, 1.0)) as answer:
            if not _is_file(answer):
                return
    except urllib.error.HTTPError as error:
        if 400 <= error.code < 500:
            raise SourceError(
                f"{url}: cannot be opened: the server answers {error.code} {error.reason}; is the path right?"
            ) from error
        return
    except (OSError, ValueError, http.client.HTTPException):
        return
    raise SourceError(f"{url}: cannot be opened: no video or picture, a damaged one, or the server stalls")


def is_file(url: str) -> bool:
    """Whether an HTTP server hands out something that ends."""
    if not url.startswith(_HTTP):
        return False
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN) as answer:
            return _is_file(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _is_file(answer: Any) -> bool:
    """Whether the server says how long it is, and it is no playlist."""
    return bool(answer.length) and not answer.read(16).lstrip().startswith(_PLAYLISTS)
