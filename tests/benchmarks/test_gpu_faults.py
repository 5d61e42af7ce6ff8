"""The GPU check's hangs and broken contexts, over a GPU that is none, and what may be answered to them."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.gpu_bench import run_program


def test_faults_that_the_runtime_survives(tmp_path: Path) -> None:
    wanted = ("--only", "watchdog", "--only", "sticky", "--only", "events")
    status, report, printed = run_program(tmp_path / "gpu.json", *wanted)
    checks = report["checks"]
    assert {name: item["status"] for name, item in checks.items()} == dict.fromkeys(checks, "ok"), printed
    assert status == 0
    assert (checks["watchdog"]["timeout"], checks["watchdog"]["watchdog"]) == ("compute", "compute")
    assert checks["sticky"]["recovers"] is True
    assert checks["events"]["compute"]["p50"] > 0


def test_a_context_that_cannot_be_mended_is_an_answer_and_no_failure(tmp_path: Path) -> None:
    wanted = ("--only", "sticky")
    status, report, _ = run_program(tmp_path / "gpu.json", *wanted, FAKE_GPU_STAYS_BROKEN="1")
    sticky = report["checks"]["sticky"]
    assert (status, sticky["status"]) == (0, "ok")
    assert sticky["recovers"] is False
    assert "700" in sticky["said"]
    assert sticky["reopen"]
