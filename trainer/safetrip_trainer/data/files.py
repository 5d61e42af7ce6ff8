"""Writing so that a kill at any moment leaves the old file or the new one, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetrip_trainer.errors import DatasetError

__all__ = ["read_bytes", "read_json", "write_atomic", "write_json"]


def write_atomic(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace `path` by `data` in one step, making its folder where it lacks one.

    `sync=False` leaves out the fsync: for files whose content is checked again before it is used, where
    one fsync per image would dominate the run. Raises DatasetError naming the path (disk full, no
    permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DatasetError(f"cannot write {path}: {error.strerror or error}") from error


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
