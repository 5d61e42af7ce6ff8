"""Trials of mixed precision: which blocks stay in float, and what accuracy came out; kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetrip_calibration.calibrate import Ranges
from safetrip_calibration.evaluator import Evaluator
from safetrip_calibration.scales import Method
from safetrip_sdk import __version__, atomic

__all__ = ["Trials", "cache_folder", "trial_key"]


def cache_folder(bundle_path: Path) -> Path:
    """Where trials of a bundle are kept: beside it, since a bundle holds only what its manifest lists."""
    path = Path(bundle_path).absolute()
    return path.with_name(path.name + ".cache")


def trial_key(measured: Ranges, method: Method, evaluation: str) -> str:
    """What trials depend on: the FP32 graph, the frames calibrated on, the method, how they are judged
    (`evaluation_key`), and the versions of what makes INT8 graphs (us) and found the ranges (onnxruntime).
    """
    model = measured.graph.model.SerializeToString(deterministic=True)
    parts = (
        hashlib.sha256(model).hexdigest(),
        measured.sha256,
        str(method),
        evaluation,
        __version__,
        version("onnxruntime"),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Trials:
    """Accuracy by assignment, each computed once.

    Args:
        measured, method: what INT8 graphs are made from.
        blocks: of `find_blocks`.
        evaluate: makes the evaluator when the first trial that is not on file needs it.
        file: JSON that holds trials already done; written after each, so that nothing done is lost.
    """

    def __init__(
        self,
        measured: Ranges,
        method: Method,
        blocks: dict[str, tuple[str, ...]],
        evaluate: Callable[[], Evaluator],
        file: Path,
    ) -> None:
        self.blocks = blocks
        self._measured = measured
        self._method = method
        self._make = evaluate
        self._evaluator: Evaluator | None = None
        self._file = file
        self._done: dict[str, dict[str, Any]] = _read(file)

    def __call__(self, in_float: Collection[str]) -> dict[str, Any]:
        """Metrics with the blocks `in_float` in FP16 and all others in INT8."""
        key = ",".join(sorted(in_float))
        if key not in self._done:
            if self._evaluator is None:
                self._evaluator = self._make()
            model = self._measured.build("int8", self._method, self.nodes(in_float)).model
            self._done[key] = self._evaluator(model)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self._file, json.dumps(self._done, indent=1, allow_nan=False))
        return self._done[key]

    def nodes(self, blocks: Collection[str]) -> Sequence[str]:
        """Names of the nodes of some blocks."""
        return [node for block in blocks for node in self.blocks[block]]


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        done = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # absent, or not ours: trials can be done again
    return done if isinstance(done, dict) else {}
