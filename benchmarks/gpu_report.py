"""The GPU check's figures: valid JSON, on disk as soon as they are known; the exit status they come to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from safetrip_sdk.atomic import write_text

__all__ = ["Answer", "CheckError", "Figures", "exit_status", "require", "write"]

Figures = dict[str, Any]


class CheckError(Exception):
    """A check found what must not be; the figures say the rest."""


def require(ok: bool, why: str) -> None:
    """CheckError unless `ok` (an `assert` would hold nothing under `python -O`)."""
    if not ok:
        raise CheckError(why)


class Answer:
    """What one check has found so far; each addition goes to disk, so that a later crash loses none of it.

    Its `status` is "unfinished" until the check sets another, or `end` does.

    Args:
        path: the file; None keeps the figures in memory alone.
    """

    def __init__(self, path: str | None = None) -> None:
        self.figures: Figures = {"status": "unfinished"}
        self._path = path

    def add(self, **figures: Any) -> None:
        """More figures; of the same name: newer ones."""
        self.figures.update(figures)
        write(self._path, self.figures)

    def end(self, **figures: Any) -> None:
        """The last figures. What has no fault is ok; what is not a number is one, and null in the file."""
        self.figures.update(figures)
        if self.figures["status"] == "unfinished":
            self.figures["status"] = "ok"
        lost: list[str] = []
        self.figures = _finite(self.figures, "", lost)
        if lost and self.figures["status"] != "FAILED":
            self.figures.update(status="FAILED", error=f"not a number: {', '.join(lost)}")
        write(self._path, self.figures)


def _finite(value: Any, name: str, lost: list[str]) -> Any:
    """`value` as JSON can hold it; the names of NaN and infinities, which become None, go into `lost`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): _finite(item, f"{name}.{key}".lstrip("."), lost) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{name}[{index}]", lost) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(name)
        return None
    return value


def write(path: str | None, figures: Figures) -> None:
    """Make or replace the file, atomically: whoever reads it, or kills the writer, finds it whole."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_finite(figures, "", []), indent=2, default=str, allow_nan=False)
        write_text(path, text + "\n")


def exit_status(report: Figures) -> int:
    """2: there was no GPU, or no such bundle; 1: something failed, or its time was over; else 0."""
    if "error" in report:
        return 2
    held = [*report["checks"].values(), *report.get("speedups", {}).values()]
    return 1 if any(item["status"] in ("FAILED", "unfinished", "not run") for item in held) else 0
