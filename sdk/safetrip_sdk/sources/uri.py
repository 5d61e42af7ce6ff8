"""The address of a source: kind, target and options.

Options stand behind `?`, as in `v4l2:///dev/video0?width=1280&height=720`. A network stream's query belongs
to its server: there, options stand behind `#`, which no server ever gets to see. A plain path has none,
since `?` may be part of a file's name or of a glob.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from safetrip_sdk.errors import SourceError

__all__ = [
    "NETWORK",
    "SourceUri",
    "choice",
    "flag",
    "four_letters",
    "number",
    "parse_uri",
    "whole",
]

NETWORK = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
WITH_QUERY = ("v4l2", "camera", "csi", "file", "synthetic", "mcap")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_DEVICE = re.compile(r"(\d+|/dev/video[^?]*)(?:\?(.*))?", re.DOTALL)


@dataclass(frozen=True)
class SourceUri:
    """A source's address, taken apart.

    Attributes:
        text: as it was given, for messages.
        scheme: one of `NETWORK`, v4l2, csi, file, synthetic, mcap, gst; "path" for a plain path.
        target: device, path or URL; the GStreamer pipeline for gst.
        options: as text.
    """

    text: str
    scheme: str
    target: str
    options: Mapping[str, str]

    def read_options(self, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        """The options' values, each read by its function in `known`.

        Raises:
            SourceError: an option that is not known, or whose value its function refuses (ValueError).
        """
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            there = ", ".join(known) or "none"
            raise SourceError(f"{self.text}: unknown option {', '.join(unknown)}; there are: {there}")
        values = {}
        for name, text in self.options.items():
            try:
                values[name] = known[name](text)
            except ValueError as error:
                raise SourceError(f"{self.text}: {name}={text!r}: {error}") from None
        return values


def parse_uri(text: str) -> SourceUri:
    """Take an address apart; nothing is opened or looked at.

    Raises:
        SourceError: empty, an unknown kind, options that are no name=value pairs, or one given twice.
    """
    if not text or "\x00" in text:
        raise SourceError(f"{text!r}: no address of a source; give a file, a camera or a URI")
    if text.startswith("gst:"):
        return SourceUri(text, "gst", text[4:].strip(), {})
    device = _DEVICE.fullmatch(text)
    if device is not None:
        return SourceUri(text, "v4l2", device[1], _options(text, device[2]))
    match = _SCHEME.fullmatch(text)
    if match is None:
        return SourceUri(text, "path", text, {})
    scheme, rest = match[1].lower(), match[2]
    if scheme in NETWORK:
        url, _, fragment = text.partition("#")
        return SourceUri(text, scheme, url, _options(text, fragment))
    if scheme not in WITH_QUERY:
        kinds = ", ".join(f"{name}://" for name in (*WITH_QUERY, *NETWORK) if name != "camera")
        raise SourceError(f"{text}: no kind of source is called {scheme}://; there are: {kinds}, gst:")
    target, _, query = rest.partition("?")
    scheme = "v4l2" if scheme == "camera" else scheme
    return SourceUri(text, scheme, unquote(target), _options(text, query))


def _options(text: str, query: str | None) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise SourceError(f"{text}: options are name=value, joined by &, not {query!r}") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise SourceError(f"{text}: an option is given twice")
    return options


def whole(text: str) -> int:
    """An integer of 0 or more."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("want a whole number")
    return int(text)


def number(text: str) -> float:
    """A finite number of 0 or more: seconds, frames a second."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError("is no number") from None
    if not 0 <= value < float("inf"):
        raise ValueError("want a finite number of 0 or more")
    return value


def flag(text: str) -> bool:
    """1, true, yes, or nothing at all: True; 0, false, no: False."""
    if text.lower() in ("1", "true", "yes", ""):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise ValueError("want 1 or 0")


def four_letters(text: str) -> str:
    """A pixel format's four-letter code, such as MJPG or YUYV."""
    if not re.fullmatch(r"[A-Za-z0-9]{4}", text):
        raise ValueError("want four letters, such as MJPG or YUYV")
    return text.upper()


def choice(*names: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"want one of {', '.join(names)}")
        return text

    return read
