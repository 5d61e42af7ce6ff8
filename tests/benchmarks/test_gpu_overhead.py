"""The overhead's limit holds for each way of waiting and each size of frame."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.gpu_bench import gpu_environment, gpu_overhead, gpu_report, strictly


def figures(**over: float) -> dict[str, dict[str, dict[str, float]]]:
    return {
        wait: {size: {"overhead_us": over.get(f"{wait}_{size}", 30.0)} for size in ("small", "camera")}
        for wait in ("block", "spin")
    }


def test_at_the_limit_all_is_well() -> None:
    gpu_overhead.gate(figures())


@pytest.mark.parametrize("which", ["block_small", "block_camera", "spin_small", "spin_camera"])
@pytest.mark.parametrize("value", [30.1, float("nan")])
def test_one_above_it_is_enough(which: str, value: float) -> None:
    wait, size = which.split("_")
    with pytest.raises(gpu_report.CheckError, match=f"30 us: {wait}, {size} frame: {value:.1f} us$"):
        gpu_overhead.gate(figures(**{which: value}))


MEASURE = """
import json, sys
import gpu_overhead
from gpu_report import Answer, CheckError
gpu_overhead.TURNS, gpu_overhead.ROUNDS = 1, 10
answer = Answer()
try:
    gpu_overhead.check_overhead(answer)
except CheckError:
    pass
print(json.dumps(answer.figures))
"""


def test_both_ways_of_waiting_are_measured_against_the_bare_launch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=gpu_environment(), capture_output=True, text=True, timeout=120
    )
    found = strictly(done.stdout)
    for wait in ("block", "spin"):
        small, camera = found[wait]["small"], found[wait]["camera"]
        assert small["overhead_us"] == small["runtime_us"] - small["launch_and_wait_us"]
        assert camera["difference_us"] == camera["runtime_us"] - camera["launch_and_wait_us"]
        assert camera["overhead_us"] == camera["runtime_us"] - camera["with_copies_us"]
