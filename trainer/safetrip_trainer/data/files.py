"""Reading and writing whole files, with the path in every message."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetrip_sdk import atomic
from safetrip_trainer.errors import DatasetError

__all__ = ["is_inside", "read_bytes", "read_json", "write_atomic", "write_json"]


def write_atomic(path: Path, data: bytes | Sequence[bytes], sync: bool = True) -> None:
    """Replace `path` by `data` (its parts in order) in one step, making its folder where it lacks one.

    `sync=False` leaves out the fsync: for files that are checked again before they are used, where one fsync
    per image would dominate the run. Raises DatasetError naming the path (disk full, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.open_atomic(path, sync=sync) as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error.strerror or error}{_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "; free some space there, or choose another folder: what was finished is kept"
    return ""


def is_inside(name: str) -> bool:
    """Whether a relative name that somebody else wrote stays in the folder that it is joined to.

    Letters of any script are fine: they are what a tree's own files are named with.
    """
    parts = name.split("/")
    return parts[0] != "" and ".." not in parts and "\0" not in name


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of `value` as indented JSON; keys keep their order, NaN is refused."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_bytes(path: Path) -> bytes:
    """The whole file; DatasetError naming the path where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The parsed file; DatasetError naming the path where it is absent or not JSON."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON ({error})") from error
