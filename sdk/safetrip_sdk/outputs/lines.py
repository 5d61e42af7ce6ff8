"""A JSON line for each frame."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import IO

from safetrip_sdk import atomic
from safetrip_sdk.classes import ClassTable
from safetrip_sdk.outputs.base import Shot
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.summary import summarize

__all__ = ["JsonLines"]


class JsonLines:
    """Figures, hazards and the free way of each frame; a file appears under its name when it is complete.

    Args:
        target: path, or `-` for standard output.
        table: the model's classes.
        intrinsics: of the camera, for bearings and sizes.
    """

    pictures = False

    def __init__(self, target: str, table: ClassTable, intrinsics: CameraIntrinsics | None) -> None:
        self._table = table
        self._intrinsics = intrinsics
        self._stack = ExitStack()
        if target == "-":
            self._file: IO[str] = sys.stdout
        else:
            self._file = self._stack.enter_context(atomic.open_atomic(os.fspath(target), "w"))

    def write(self, shot: Shot) -> None:
        """Add a line."""
        figures = summarize(shot.prediction, self._table, self._intrinsics)
        self._file.write(json.dumps({"origin": shot.origin, **figures}) + "\n")

    def close(self) -> None:
        """Complete the file."""
        self._file.flush()
        self._stack.close()

    def abandon(self) -> None:
        """Leave the file of that name as it was."""
        error = RuntimeError("abandoned")
        try:
            self._stack.__exit__(type(error), error, None)
        except RuntimeError:
            return
