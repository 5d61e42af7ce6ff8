"""The GPU check's own machinery, on a machine that may have no GPU: time limits, deaths, the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import gpu_check

    return gpu_check


@pytest.mark.parametrize(
    ("program", "limit", "said"),
    [
        ("import time; time.sleep(60)", 0.5, "no answer within 0 s"),
        ("import os; os.abort()", 30.0, "status -6"),
    ],
)
def test_how_a_check_ended_is_said(gpu_check: object, program: str, limit: float, said: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    assert said in gpu_check.wait_for(child, limit)  # type: ignore[attr-defined]
    assert child.poll() is not None


def test_a_check_that_raises_is_a_finding_with_its_reason(gpu_check: object) -> None:
    result = gpu_check.run_check("no such", None)  # type: ignore[attr-defined]
    assert result["status"] == "FAILED"
    assert "no backend 'no'" in result["error"]


def test_speedups_are_over_the_fastest_engine(gpu_check: object) -> None:
    checks = {
        "tensorrt fp16": {"p50_ms": {"block": 2.0, "spin": 1.0}},
        "tensorrt fp32": {"status": "skipped"},
        "polygraphy": {"p50_ms": 3.0},
        "torch_compile_fp16": {"status": "skipped", "answer": "no torch"},
    }
    assert gpu_check.speedups(checks) == {"polygraphy": 3.0}  # type: ignore[attr-defined]


def test_without_a_gpu_the_report_says_so(tmp_path: Path, tiny_bundle: Path) -> None:
    report = tmp_path / "out" / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--json", str(report)]
    done = subprocess.run(
        [*command, "--bundle", str(tiny_bundle), "--only", "graph", "--only", "tensorrt_rtx fp32"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(report.read_text())
    assert list(found["checks"]) == ["graph", "tensorrt_rtx fp32"]
    if found["gpu"]["status"] == "ok":
        assert done.returncode in (0, 1)
        return
    assert done.returncode == 2
    assert "no GPU to check: " in done.stderr
    assert all(item == {"status": "not run"} for item in found["checks"].values())
