"""The workload against counts by hand, the prediction against the roofline's limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import ModelProto

from safetrip_calibration.budget_file import Budget
from safetrip_calibration.budget_table import prediction_table
from safetrip_calibration.calibrate import calibrate, measure_ranges, write_precision
from safetrip_calibration.device_profile import DeviceProfile, load_profile
from safetrip_calibration.errors import ProfileError
from safetrip_calibration.predict import predict_budget
from safetrip_calibration.roofline import kernel_ms, predict
from safetrip_calibration.scales import parse_method
from safetrip_calibration.workload import Kernel, kernels
from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import CHANNELS, CLASSES, SIZE, Scenes

PROFILES = sorted((Path(__file__).parents[2] / "benchmarks" / "devices").glob("*.yaml"))
DEVICE = DeviceProfile(
    name="test",
    device="test",
    sources={},
    peak_tops={"fp32": 1.0, "fp16": 2.0, "int8": 4.0},
    bandwidth_gb_s=10.0,
    launch_us=5.0,
    efficiency={"dense": 0.5, "depthwise": 0.5, "traffic": 1.0, "memory": 0.5},
)


def test_multiply_adds_equal_the_count_by_hand(model: ModelProto) -> None:
    (h, w), c = SIZE, CHANNELS
    half, quarter = h * w // 4, h * w // 16
    by_hand = {
        "stem": half * c * 3 * 9,
        "expand": half * c * 2 * c,
        "depthwise": half * 2 * c * 9,
        "project": half * 2 * c * c,
        "down": quarter * c * c * 9,
        "logits": half * CLASSES * c * 9,
    }
    found = {part.name.removeprefix("node_"): part for part in kernels(model, (120, 160))}
    assert {name: found[name].macs for name in by_hand} == by_hand
    assert found["depthwise"].kind == "depthwise"
    assert found["expand"].kind == "dense"
    assert found["pool"].kind == "memory"


def test_sums_and_activations_fuse_into_the_convolution_before(model: ModelProto) -> None:
    found = {part.name: part for part in kernels(model, (120, 160))}
    assert found["node_project"].nodes == ("node_project", "node_residual")
    assert found["node_stem"].nodes == ("node_stem", "node_stem.act")
    half = SIZE[0] * SIZE[1] // 4
    # The projection reads its input and the residual branch, and writes the sum only.
    assert found["node_project"].read == half * 3 * CHANNELS
    assert found["node_project"].written == half * CHANNELS


def test_larger_frames_cost_more_in_preprocessing_alone(model: ModelProto) -> None:
    small, large = predict(model, (120, 160), DEVICE, "fp16"), predict(model, (1080, 1920), DEVICE, "fp16")
    assert large.by_kind["memory"] > small.by_kind["memory"]
    assert large.by_kind["dense"] == small.by_kind["dense"]


def test_the_roof_is_the_larger_of_compute_and_memory() -> None:
    busy = Kernel("k", "dense", macs=10**9, read=10, written=10, weights=0)
    assert kernel_ms(busy, "fp32", DEVICE) == (pytest.approx(4.005), "compute")
    assert kernel_ms(busy, "int8", DEVICE)[0] == pytest.approx(1.005)
    streaming = Kernel("k", "memory", macs=0, read=10**6, written=0, weights=0)
    assert kernel_ms(streaming, "fp32", DEVICE) == (pytest.approx(0.805), "memory")
    assert kernel_ms(streaming, "fp16", replace(DEVICE, fp16_runs_as="fp32"))[0] == pytest.approx(0.805)
    assert kernel_ms(Kernel("k", "memory", 0, 1, 1, 0), "fp32", DEVICE)[1] == "launch"
    heavy = Kernel("k", "dense", macs=1, read=0, written=0, weights=10**6)
    assert kernel_ms(heavy, "fp32", DEVICE) == (pytest.approx(0.405), "memory")


def test_precisions_are_ordered_and_heads_are_never_int8(model: ModelProto) -> None:
    times = {name: predict(model, (120, 160), DEVICE, name) for name in ("fp32", "fp16", "int8")}
    assert times["int8"].total_ms < times["fp16"].total_ms < times["fp32"].total_ms
    of = {name: {k: ms for k, ms, _ in item.kernels} for name, item in times.items()}
    assert of["int8"]["node_logits"] == of["fp16"]["node_logits"]
    assert of["int8"]["node_expand"] < of["fp16"]["node_expand"]


def test_an_assignment_changes_only_its_kernels(model: ModelProto) -> None:
    plain = predict(model, (120, 160), DEVICE, "int8")
    mixed = predict(model, (120, 160), DEVICE, "int8", {"node_expand": "fp16"})
    before, after = ({k: ms for k, ms, _ in item.kernels} for item in (plain, mixed))
    assert [name for name in before if before[name] != after[name]] == ["node_expand"]
    # A kernel runs in the widest type of its nodes; what the frame costs outside of kernels is added once.
    wide, mixed = (
        predict(model, (120, 160), DEVICE, "int8", {"node_project": kind, "node_residual": "fp16"})
        for kind in ("fp16", "int8")
    )
    assert wide == mixed
    assert wide.total_ms > plain.total_ms
    outside = predict(model, (120, 160), replace(DEVICE, overhead_ms=3.0), "int8")
    assert outside.total_ms == pytest.approx(plain.total_ms + 3.0)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profiles_of_the_project_name_their_sources(path: Path, model: ModelProto) -> None:
    profile = load_profile(path)
    assert profile.name == path.stem
    assert {"peak_tops", "bandwidth_gb_s", "efficiency"} <= set(profile.sources)
    assert predict(model, (1080, 1920), profile, "fp16").total_ms > 0


def test_there_are_profiles_for_the_budgets() -> None:
    assert {"h100", "jetson-orin-nano-15w", "jetson-orin-nano-maxn", "x86-cpu-2core"} == {
        p.stem for p in PROFILES
    }


def test_a_bad_profile_names_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(PROFILES[0].read_text().replace("launch_us", "launch_ms"))
    with pytest.raises(ProfileError, match=r"bad\.yaml: unknown key launch_ms"):
        load_profile(path)


def test_a_budget_is_held_against_every_precision_of_a_bundle(bundle: Path, scenes: Scenes) -> None:
    calibrate(bundle, scenes, "int8", count=2)
    measured = measure_ranges(Bundle.open(bundle), scenes, 2, 0)
    made = measured.build("int8", parse_method("mse"), ["node_expand", "node_depthwise"])
    with Bundle.edit(bundle) as draft:
        write_precision(draft, "mixed", made, measured, "mse")
    budget = Budget("b", "d", (120, 160), {"p50": 0.3})
    found = predict_budget(Bundle.open(bundle), budget, DEVICE)
    of = {name: item.total_ms for name, item in found.predictions.items()}
    assert of["int8"] < of["mixed"] < of["fp32"]
    assert found.passed == (min(of.values()) <= 0.3)
    assert not predict_budget(Bundle.open(bundle), replace(budget, latency_ms={"p50": 1e-6}), DEVICE).passed
    assert "too slow" in prediction_table(replace(found, limit_ms=1e-6))
    assert json.dumps(found.to_dict(), allow_nan=False)
