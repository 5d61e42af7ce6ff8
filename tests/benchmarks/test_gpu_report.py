"""The GPU check's figures: valid JSON at every moment, and the exit status they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.gpu_bench import gpu_report, strictly


def test_each_addition_is_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "answer.json"
    answer = gpu_report.Answer(str(file))
    answer.add(build_s=np.float32(1.5))
    assert strictly(file.read_text()) == {"status": "unfinished", "build_s": 1.5}
    answer.end(seconds=2)
    assert strictly(file.read_text()) == {"status": "ok", "build_s": 1.5, "seconds": 2}


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), [1.0, float("-inf")], {"p50": np.nan}])
def test_what_is_no_number_is_null_and_a_failure(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "answer.json"
    answer = gpu_report.Answer(str(file))
    answer.add(depth_error=value, fps=30.0)
    assert strictly(file.read_text())["status"] == "unfinished"
    answer.end()
    found = strictly(file.read_text())
    assert found["status"] == "FAILED"
    assert "not a number: depth_error" in found["error"]
    assert found["fps"] == 30.0
    assert "null" in file.read_text()


def test_a_failure_keeps_its_own_reason_beside_what_is_no_number() -> None:
    answer = gpu_report.Answer()
    answer.end(status="FAILED", error="labels_equal 0.0, want 0.995", depth_error=float("nan"))
    assert answer.figures["error"] == "labels_equal 0.0, want 0.995"
    assert answer.figures["depth_error"] is None


@pytest.mark.parametrize(
    ("status", "speedup", "code"),
    [
        ("ok", "ok", 0),
        ("skipped", "skipped", 0),
        ("unchecked", "ok", 0),
        ("FAILED", "ok", 1),
        ("unfinished", "ok", 1),
        ("not run", "ok", 1),
        ("ok", "FAILED", 1),
    ],
)
def test_exit_status(status: str, speedup: str, code: int) -> None:
    report = {"checks": {"graph": {"status": status}}, "speedups": {"polygraphy": {"status": speedup}}}
    assert gpu_report.exit_status(report) == code
    assert gpu_report.exit_status({**report, "error": "no such bundle"}) == 2
