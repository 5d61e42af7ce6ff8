"""Files and folders that are either as before or completely new, whatever happens in between.

Temporary file beside the target, fsync, rename, fsync of the folder: the order that survives a power cut
on ext4, xfs and btrfs alike.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["exchange", "fsync_dir", "open_atomic", "sibling", "write_bytes", "write_text"]

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def sibling(path: Path, suffix: str) -> Path:
    """A fresh hidden name beside `path` (same file system, so that a rename is atomic)."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{suffix}")


@contextmanager
def open_atomic(path: str | os.PathLike[str], mode: str = "wb", sync: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends without an exception.

    Args:
        path: the file to make or replace; its folder must exist.
        mode: `"wb"` or `"w"` (UTF-8).
        sync: False: whole or absent if the program dies, but not after a power cut.

    Raises:
        OSError: as from `open`, naming a file; `path` is then what it was.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f'open_atomic: mode must be "wb" or "w", not {mode!r}')
    target = Path(path)
    temporary = sibling(target, ".tmp")
    encoding = "utf-8" if mode == "w" else None
    try:
        # "x" instead of "w": a fresh file, made with the caller's umask.
        with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(target)  # which a write to a full disk does not say
        raise
    if sync:
        fsync_dir(target.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Make or replace a file with `data`, atomically."""
    with open_atomic(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Make or replace a UTF-8 text file, atomically."""
    with open_atomic(path, "w") as file:
        file.write(text)


def fsync_dir(path: Path) -> None:
    """Make renames inside a folder durable; file systems that cannot are let off."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> None:
    """Swap two existing paths on one file system, atomically where the kernel can (renameat2).

    The fallback is two renames, undone when the second fails: for an instant `second` does not exist.
    """
    if _renameat2(first, second):
        return
    aside = sibling(second, ".aside")
    os.rename(second, aside)
    try:
        os.rename(first, second)
    except BaseException:
        os.rename(aside, second)
        raise
    os.rename(aside, first)


def _renameat2(first: Path, second: Path) -> bool:
    """True when the kernel swapped the two; False where it (or the file system) has no exchange."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    result = call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
