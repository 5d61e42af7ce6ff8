"""CVAT-for-images 1.1 XML as it is written, one image at a time.

A file that declares a DTD or entities is refused where the declaration begins, before anything is expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import ParseError, XMLParser

from safetrip_trainer.errors import DatasetError

__all__ = ["WrittenImage", "written_images"]

_CHUNK = 1 << 16


class WrittenImage(NamedTuple):
    """An `<image>` as it is written: its attributes, and tag and attributes of each element in it."""

    attributes: dict[str, str]
    shapes: list[tuple[str, dict[str, str]]]


def written_images(path: Path) -> Iterator[WrittenImage]:
    """Each `<image>` in turn, as soon as it ends.

    Raises DatasetError naming `path` where it cannot be read, is malformed, declares entities, holds no
    `<annotations>`, or tracks of a video.
    """
    reader = _Reader(path)
    try:
        parser = XMLParser(target=reader)  # noqa: S314  # declarations are refused, see `_Reader.doctype`
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.feed(chunk)
                yield from reader.take()
        parser.close()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{path}: malformed XML ({error}); export it again from CVAT") from error
    reader.check_kind()


class _Reader:
    """What the parser calls (as `xml.etree.ElementTree.TreeBuilder`): keeps images alone, no tree."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._root = ""
        self._depth = 0
        self._images: list[WrittenImage] = []
        self._open: WrittenImage | None = None
        self._open_depth = 0
        self._any_image = self._any_track = False

    def doctype(self, *_: str | None) -> None:
        """Called where a declaration begins, before any of its entities is known."""
        raise DatasetError(f"{self._path}: declares a DTD or entities, refused; export it again from CVAT")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._open is not None:
            if self._depth == self._open_depth + 1:  # a shape's own attributes and points lie deeper
                self._open.shapes.append((tag, attributes))
        elif tag == "image":
            self._open, self._open_depth = WrittenImage(attributes, []), self._depth
            self._any_image = True
        elif tag == "track":
            self._any_track = True
        if self._depth == 1:
            self._root = tag

    def end(self, _tag: str) -> None:
        if self._open is not None and self._depth == self._open_depth:
            self._images.append(self._open)
            self._open = None
        self._depth -= 1

    def take(self) -> list[WrittenImage]:
        """The images that ended since the last call."""
        taken, self._images = self._images, []
        return taken

    def check_kind(self) -> None:
        """DatasetError where the whole document was none of CVAT's for images."""
        advice = "export it as 'CVAT for images 1.1'"
        if self._root != "annotations":
            raise DatasetError(f"{self._path}: holds <{self._root}>, not <annotations>: {advice}")
        if self._any_track and not self._any_image:
            raise DatasetError(f"{self._path}: is 'CVAT for video 1.1' (tracks): {advice}")
