"""Speed-ups over the peers: like against like, and only engines that are right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.gpu_bench import gpu_speedups

PEERS = ("polygraphy", "torch_compile_fp16")


def engine(block: float, spin: float, status: str = "ok") -> dict[str, Any]:
    return {"status": status, "p50_ms": {"block": block, "spin": spin}}


def peer(milliseconds: float, **more: Any) -> dict[str, Any]:
    return {"status": "ok", "p50_ms": milliseconds, "precision": "fp16", **more}


def test_an_engine_that_failed_is_no_measure() -> None:
    checks = {
        "tensorrt fp16": engine(2.0, 2.0),
        "tensorrt_rtx fp16": engine(0.5, 0.5, "FAILED"),
        "torch_compile_fp16": peer(3.0),
    }
    line = gpu_speedups.speedups(checks, PEERS)["torch_compile_fp16"]
    assert (line["engine"], line["block"], line["status"]) == ("tensorrt fp16", 1.5, "ok")


@pytest.mark.parametrize("status", ["FAILED", "unchecked", "skipped", "unfinished"])
def test_without_a_sound_engine_nothing_is_said(status: str) -> None:
    checks = {"tensorrt fp16": engine(1.0, 1.0, status), "torch_compile_fp16": peer(3.0)}
    line = gpu_speedups.speedups(checks, PEERS)["torch_compile_fp16"]
    assert line == {"status": "skipped", "answer": "no TensorRT engine in fp16 that is ok to set against it"}


def test_below_one_and_a_half_is_a_failure_of_its_own() -> None:
    checks = {"tensorrt fp16": engine(2.1, 1.0), "polygraphy": peer(3.0, library="tensorrt")}
    line = gpu_speedups.speedups(checks, PEERS)["polygraphy"]
    assert line["status"] == "FAILED"
    assert line["spin"] == 3.0  # how a runtime is opened by default counts
    assert "1.43 times as fast, want 1.5" in line["error"]


def test_int8_and_other_precisions_stand_beside() -> None:
    checks = {
        "tensorrt fp32": engine(0.1, 0.1),
        "tensorrt fp16": engine(1.0, 1.0),
        "tensorrt int8": engine(0.5, 0.5),
        "polygraphy": peer(3.0, library="tensorrt"),
    }
    line = gpu_speedups.speedups(checks, PEERS)["polygraphy"]
    assert line["block"] == 3.0
    assert line["int8_beside_it"] == {"tensorrt int8": 6.0}


def test_polygraphy_is_set_against_the_library_that_it_ran() -> None:
    checks = {
        "tensorrt fp16": engine(1.0, 1.0),
        "tensorrt_rtx fp16": engine(2.0, 2.0),
        "polygraphy": peer(4.0, library="tensorrt_rtx"),
        "torch_compile_fp16": peer(4.0),
    }
    lines = gpu_speedups.speedups(checks, PEERS)
    assert (lines["polygraphy"]["block"], lines["torch_compile_fp16"]["block"]) == (2.0, 4.0)


def test_a_peer_that_did_not_run_has_no_line() -> None:
    assert gpu_speedups.speedups({"polygraphy": {"status": "skipped"}}, PEERS) == {}
