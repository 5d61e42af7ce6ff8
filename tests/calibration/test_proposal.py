"""A smaller input for a latency budget: the graph at another size against what it computes there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

from safetrip_calibration.budget_file import Budget
from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.proposal import at_input_size, fastest, largest_input_size
from safetrip_calibration.workload import kernels
from tests.calibration.nets import SIZE

SLOW = DeviceProfile(
    name="slow",
    device="slow",
    sources={},
    peak_tops={"fp32": 1e-3, "fp16": 2e-3, "int8": 4e-3},
    bandwidth_gb_s=1000.0,
    launch_us=1.0,
    efficiency={"dense": 1.0, "depthwise": 1.0, "traffic": 1.0, "memory": 1.0},
)
BUDGET = Budget(name="b", device="slow", frame_size=(120, 160), latency_ms={"p50": 1.0})
TWICE = (2 * SIZE[0], 2 * SIZE[1])


def test_the_net_at_twice_the_size_has_four_times_the_work(model: ModelProto) -> None:
    larger = at_input_size(model, SIZE, TWICE)
    before, after = (sum(part.macs for part in kernels(item, (120, 160))) for item in (model, larger))
    assert after == 4 * before
    session = onnxruntime.InferenceSession(larger.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = np.zeros((1, 120, 160, 3), np.uint8)
    assert {output.shape for output in session.run(None, {"frame": frame})} == {(1, *TWICE)}


def test_there_and_back_it_is_the_same_net(model: ModelProto) -> None:
    back = at_input_size(at_input_size(model, SIZE, TWICE), TWICE, SIZE)
    frame = np.random.default_rng(0).integers(0, 255, (1, 120, 160, 3), np.uint8)
    results = [
        onnxruntime.InferenceSession(item.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"frame": frame}
        )
        for item in (model, back)
    ]
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("wanted", [(12 * 32, 12 * 48), (12 * 48, 12 * 32)])
def test_the_largest_size_that_fits_is_proposed(model: ModelProto, wanted: tuple[int, int]) -> None:
    large = at_input_size(model, SIZE, wanted)
    enough = fastest(large, wanted, BUDGET, SLOW).ms
    budget = replace(BUDGET, latency_ms={"p50": enough / 2})
    found = largest_input_size(large, wanted, budget, SLOW)
    assert found is not None
    assert found.fits
    assert found.precision == "int8"
    assert found.ms <= enough / 2
    (h, w), (full_h, full_w) = found.size, wanted
    assert h % 32 == w % 32 == 0
    assert abs(max(w / h, h / w) - 1.5) < 0.25
    assert (w > h) == (full_w > full_h)
    # Half the time is about half the pixels; one step of 32 more would not have fitted.
    assert 0.3 < h * w / (full_h * full_w) < 0.55
    shorter = min(h, w) + 32
    next_size = (shorter, round(shorter * 1.5 / 32) * 32)[:: 1 if w > h else -1]
    assert not fastest(at_input_size(large, wanted, next_size), next_size, budget, SLOW).fits


def test_nothing_fits_a_budget_that_no_net_can_meet(model: ModelProto) -> None:
    hopeless = replace(BUDGET, latency_ms={"p50": 1e-9})
    assert largest_input_size(model, SIZE, hopeless, SLOW) is None
