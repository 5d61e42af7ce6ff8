"""Latency of each precision and backend of a bundle, and its gates.

    pytest benchmarks --benchmark-enable --bundle sidewalk.bundle
    pytest benchmarks --benchmark-enable --benchmark-save=before      then, after a change:
    pytest benchmarks --benchmark-enable --benchmark-compare --benchmark-compare-fail=median:15%
    pytest benchmarks --bundle sidewalk.bundle --budget benchmarks/budgets/x86-cpu-2core.yaml

Absolute times are compared on one quiet machine only; the speed of INT8 against FP32 is a ratio, taken in
turns within one process, which other load changes little.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetrip_calibration.budget import run_budget
from safetrip_calibration.budget_file import load_budget
from safetrip_calibration.budget_table import budget_table
from safetrip_calibration.device_state import device_state
from safetrip_calibration.images import frames_from
from safetrip_sdk import Runtime
from safetrip_sdk.backends import probe
from safetrip_sdk.bundle import Bundle

ROUNDS = 50
TURNS = 30


def test_latency(benchmark: Any, runtime: Runtime, frame: np.ndarray, precision: str, backend: str) -> None:
    """One frame in, one prediction out."""
    benchmark.group = f"{frame.shape[0]}x{frame.shape[1]}"
    assert runtime.backend is not None
    benchmark.extra_info.update(
        precision=precision, backend=backend, device=runtime.backend.device, state=device_state()
    )
    prediction = benchmark.pedantic(runtime, args=(frame,), rounds=ROUNDS, warmup_rounds=3)
    assert prediction.labels.shape == prediction.depth.shape


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_speed_against_fp32(
    request: pytest.FixtureRequest, bundle: Path, frame: np.ndarray, precision: str
) -> None:
    """FP32 and the smaller precision take turns, so that both meet the same noise."""
    if precision not in Bundle.open(bundle).manifest.precisions:
        pytest.skip(f"{bundle} holds no {precision}")
    if not probe("openvino").available:
        pytest.skip("OpenVINO is not installed: pip install openvino")
    size = (frame.shape[0], frame.shape[1])
    options = {"backend": "openvino", "frame_size": size, "slots": 1}
    ratios = []
    with (
        Runtime(bundle, precision="fp32", **options) as fp32,
        Runtime(bundle, precision=precision, **options) as smaller,
    ):
        for turn in range(TURNS + 3):
            took = []
            for runtime in (fp32, smaller):
                start = time.perf_counter()
                runtime(frame)
                took.append(time.perf_counter() - start)
            if turn >= 3:
                ratios.append(took[0] / took[1])
    ratio = float(np.median(ratios))
    print(f"{precision} is {ratio:.2f} times as fast as fp32 on openvino, {size[0]}x{size[1]}")
    assert ratio >= request.config.getoption("--min-speedup")


def test_budget(request: pytest.FixtureRequest, bundle: Path) -> None:
    """The whole budget file, with the table of `trainer budget` when it is not met."""
    path = request.config.getoption("--budget")
    if path is None:
        pytest.skip("no budget: give --budget FILE, such as benchmarks/budgets/demo.yaml")
    budget = load_budget(path)
    result = run_budget(bundle, budget, frames_from(None, budget.frame_size), write=False)
    print(budget_table(result))
    assert result.passed, "\n" + budget_table(result)
