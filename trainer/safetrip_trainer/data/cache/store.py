"""Where shards lie: a local folder, or anything that fsspec has a URL for, read through a local copy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs

from safetrip_sdk import atomic
from safetrip_trainer.data.files import is_inside, write_atomic
from safetrip_trainer.errors import DatasetError

__all__ = ["Store", "is_url", "plain"]

_MIRRORS = "SAFETRIP_CACHE"
_FILE = "file://"


def is_url(place: str | os.PathLike[str]) -> bool:
    """`s3://bucket/folder` and its like; a plain path or `file://` is none."""
    return "://" in str(place) and not str(place).startswith(_FILE)


def plain(place: str | os.PathLike[str]) -> str:
    """A folder's path where it is given as `file://`; any other place as it is."""
    return str(place).removeprefix(_FILE)


class Store:
    """A folder of files, by path or URL (`s3://`, `gs://`, `https://`, whatever fsspec can open here).

    A remote file is copied to `mirror` when it is first read, whole and atomically, and read from there
    afterwards; several processes may share a mirror. Names come from files that the store itself holds, so
    that every method raises DatasetError for one that leads out of the folder.

    Args:
        place: path or URL of the folder.
        mirror: where copies of remote files go; $SAFETRIP_CACHE or ~/.cache/safetrip, and there a folder for
            each URL, by default.
    """

    def __init__(self, place: str | os.PathLike[str], mirror: Path | None = None) -> None:
        self.place = plain(place).rstrip("/")
        self.remote = is_url(place)
        self.folder = mirror or (_default_mirror(self.place) if self.remote else Path(self.place))

    def __str__(self) -> str:
        return self.place

    @property
    def absolute(self) -> str:
        """Its place, however it was named."""
        return self.place if self.remote else str(Path(self.place).absolute())

    def read(self, name: str) -> Path:
        """The file on this machine's disk; DatasetError where it is not there or cannot be copied."""
        path = self._path(name)
        if self.remote and not path.exists():
            self.refresh(name)
        return path

    def refresh(self, name: str) -> Path:
        """`read`, copied anew from a remote store: for the few files that change under one name."""
        path = self._path(name)
        if self.remote:
            temporary = atomic.sibling(path, ".part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                filesystem, root = self._open()
                filesystem.get_file(f"{root}/{name}", str(temporary))
                os.replace(temporary, path)
            except FileNotFoundError:
                raise DatasetError(f"{self.place}/{name}: not there") from None
            except Exception as error:  # a file system of any make: each has its own exceptions
                raise DatasetError(f"{self.place}/{name}: cannot be copied to {path}: {error}") from error
            finally:
                temporary.unlink(missing_ok=True)
        return path

    def exists(self, name: str, size: int) -> bool:
        """Whether the file is in the store, whole."""
        path = self._path(name)
        try:
            if not self.remote:
                return path.stat().st_size == size
            filesystem, root = self._open()
            return bool(filesystem.info(f"{root}/{name}")["size"] == size)
        except OSError:
            return False

    def write(self, name: str, data: bytes | Sequence[bytes], sync: bool = False) -> None:
        """Put a whole file (its parts in order), atomically; DatasetError where the disk is full or the store
        refuses.
        """
        path = self._path(name)
        if not self.remote:
            write_atomic(path, data, sync)
            return
        try:
            filesystem, root = self._open()
            filesystem.makedirs(f"{root}/{name}".rsplit("/", 1)[0], exist_ok=True)
            filesystem.pipe_file(f"{root}/{name}", data if isinstance(data, bytes) else b"".join(data))
        except Exception as error:
            raise DatasetError(f"{self.place}/{name}: cannot be written: {error}") from error

    def remove(self, name: str) -> None:
        """Delete a file, be it there or not."""
        path = self._path(name)
        if not self.remote:
            path.unlink(missing_ok=True)
            return
        filesystem, root = self._open()
        if filesystem.exists(f"{root}/{name}"):
            filesystem.rm_file(f"{root}/{name}")

    def _path(self, name: str) -> Path:
        if not is_inside(name):
            reason = "which is not inside of it: damaged, or not to be trusted; take another cache"
            raise DatasetError(f"{self.place}: names {name!r}, {reason}")
        return self.folder / name

    def _open(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """The file system and the folder on it; fsspec keeps one of each kind for a process."""
        try:
            filesystem, root = url_to_fs(self.place)
        except (ImportError, ValueError) as error:
            raise DatasetError(f"{self.place}: {error}") from error
        return filesystem, str(root).rstrip("/")


def _default_mirror(url: str) -> Path:
    base = os.environ.get(_MIRRORS)
    folder = Path(base) if base else Path.home() / ".cache" / "safetrip"
    return folder / hashlib.sha256(url.encode()).hexdigest()[:16]
