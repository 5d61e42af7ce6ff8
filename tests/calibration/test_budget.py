"""The gate: measured through the Runtime in a process of its own, judged beyond noise, recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from safetrip_calibration import budget as budget_module
from safetrip_calibration.budget import Check, judge, run_budget
from safetrip_calibration.budget_file import Budget
from safetrip_calibration.budget_table import budget_table
from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.compare import compare
from safetrip_calibration.device_state import device_state
from safetrip_calibration.errors import CalibrationError, FramesError
from safetrip_calibration.images import frames_from, resized
from safetrip_calibration.intervals import Interval
from safetrip_calibration.measure import Job, MeasureError, Measurement, _time
from safetrip_calibration.thresholds import Thresholds
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.manifest import PrecisionInfo
from tests.calibration.nets import SIZE, Scenes, make_manifest
from tests.calibration.test_not_finite import spoil

LENIENT = Budget(
    name="lenient",
    device="any",
    frame_size=(120, 160),
    latency_ms={"p50": 10_000.0, "p95": 20_000.0},
    backend="openvino",
    frames=20,
    frames_per_second=0.01,
    peak_memory_mb=20_000,
    startup_s=600,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, model: ModelProto, scenes: Scenes) -> Path:
    """A bundle with fp32 and int8, compared."""
    path = tmp_path_factory.mktemp("budget") / "toy.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString())
    calibrate(path, scenes, "int8", count=3)
    compare(path, scenes, precisions=["int8"], backends=["openvino"], thresholds=Thresholds({}))
    return path


def images(scenes: Scenes) -> list[np.ndarray]:
    return [scenes[index].frame for index in range(3)]


def test_a_generous_budget_passes_and_the_figures_go_into_the_manifest(
    measured: Path, scenes: Scenes
) -> None:
    result = run_budget(measured, LENIENT, images(scenes))
    assert result.passed
    entry = Bundle.open(measured).manifest.latency[-1]
    assert (entry["precision"], entry["backend"], entry["frames"]) == ("int8", "openvino", 20)
    assert 0 < entry["p50_ms"]["value"] <= entry["p95_ms"]["value"]
    assert entry["startup_s"] > 0.05
    assert 30 < entry["peak_memory_mb"] < 1000
    assert "PASS" in budget_table(result)
    assert json.dumps(result.to_dict(), allow_nan=False)
    assert result.states["before"]["cores"] >= 1


def test_peak_memory_is_not_the_parents(measured: Path, scenes: Scenes) -> None:
    ballast = np.ones(200_000_000)  # 1.6 GB in this process
    result = run_budget(measured, LENIENT, images(scenes), write=False)
    assert ballast.nbytes / 2**20 > 1500
    assert result.figures["peak_memory_mb"] < 1000


def test_an_impossible_budget_fails(measured: Path, scenes: Scenes) -> None:
    budget = replace(LENIENT, latency_ms={"p50": 1e-4}, frames_per_second=1e7)
    before = Bundle.open(measured).manifest
    result = run_budget(measured, budget, images(scenes), write=False)
    assert not result.passed
    assert [check.verdict for check in result.checks[:2]] == ["FAIL", "FAIL"]
    assert "FAIL" in budget_table(result)
    assert Bundle.open(measured).manifest == before


def test_accuracy_limits_are_held_against_the_comparison(measured: Path, scenes: Scenes) -> None:
    metrics = Bundle.open(measured).manifest.precisions["int8"].metrics["compare"]["backends"]["openvino"]
    strict = replace(LENIENT, accuracy={"miou": metrics["miou"] + 0.01, "miou_drop": 100.0})
    result = run_budget(measured, strict, images(scenes), write=False)
    assert {check.name: check.passed for check in result.checks[-2:]} == {"miou": False, "miou_drop": True}


def test_accuracy_without_a_comparison_says_what_to_run(bundle: Path, scenes: Scenes) -> None:
    with pytest.raises(CalibrationError, match="trainer compare"):
        run_budget(bundle, replace(LENIENT, accuracy={"miou_drop": 1.0}), images(scenes))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where anything is measured."""

    def refuse(*words: object) -> None:
        raise AssertionError("measured before what is missing was said")

    monkeypatch.setattr(budget_module, "measure", refuse)


@pytest.mark.usefixtures("unmeasured")
def test_what_no_comparison_gave_is_said_before_measuring(bundle: Path, scenes: Scenes) -> None:
    strict = replace(LENIENT, accuracy={"delta1_drop": 1.0})
    with pytest.raises(CalibrationError, match="trainer compare"):
        run_budget(bundle, strict, images(scenes), write=False)
    compare(bundle, Scenes(2), ["fp32"], ["onnxruntime"], Thresholds({}))  # two frames with labels alone
    with pytest.raises(CalibrationError, match="could not give delta1_drop; compare on labelled frames"):
        run_budget(bundle, strict, images(scenes), write=False)


@pytest.fixture
def elsewhere(measured: Path, tmp_path: Path, scenes: Scenes) -> Path:
    """`measured`, compared on onnxruntime instead, which is not what the budget measures."""
    path = tmp_path / "toy.bundle"
    shutil.copytree(measured, path)
    calibrate(path, scenes, "int8", count=3)
    compare(path, scenes, ["int8"], ["onnxruntime"], Thresholds({}))
    return path


def test_accuracy_of_another_backend_is_said_to_be(elsewhere: Path, scenes: Scenes) -> None:
    strict = replace(LENIENT, accuracy={"miou_drop": 100.0})
    result = run_budget(elsewhere, strict, images(scenes), write=False)
    note = "accuracy is onnxruntime's: not compared on openvino"
    assert note in result.notes
    assert note in result.to_dict()["notes"]
    assert note in budget_table(result).splitlines()
    assert result.passed

    compare(elsewhere, Scenes(2), ["int8"], ["openvino"], Thresholds({}))  # two frames with labels alone
    depth = replace(LENIENT, accuracy={"delta1_drop": 100.0})
    notes = run_budget(elsewhere, depth, images(scenes), write=False).notes
    assert "accuracy is onnxruntime's: no delta1_drop from the comparison on openvino" in notes
    assert not any("accuracy" in text for text in run_budget(elsewhere, strict, images(scenes)).notes)


def test_depth_that_is_no_number_meets_no_budget(elsewhere: Path, scenes: Scenes) -> None:
    spoil(elsewhere, "int8")
    compare(elsewhere, Scenes(2), ["int8"], ["openvino"], Thresholds({}))
    result = run_budget(elsewhere, replace(LENIENT, precision="int8"), images(scenes), write=False)
    assert not result.passed
    (failed,) = [check for check in result.checks if not check.passed]
    assert (failed.name, failed.measured.value) == ("pixels without depth", 2 * SIZE[0] * SIZE[1])
    assert "pixels without depth" in budget_table(result)


def test_frames_of_another_size_and_a_missing_precision(bundle: Path, scenes: Scenes) -> None:
    with pytest.raises(CalibrationError, match="120x160"):
        run_budget(bundle, replace(LENIENT, frame_size=(100, 100)), images(scenes))
    with pytest.raises(CalibrationError, match="asks for fp16"):
        run_budget(bundle, replace(LENIENT, precision="fp16"), images(scenes))


def test_auto_measures_a_mixture_that_was_accepted(measured: Path, scenes: Scenes, tmp_path: Path) -> None:
    """What the robot would run, where INT8 was rejected."""
    path = shutil.copytree(measured, tmp_path / "mixed.bundle")
    with Bundle.edit(path) as draft:
        there = dict(draft.manifest.precisions)
        there["mixed"] = PrecisionInfo("model.mixed.onnx", accepted=True)
        there["int8"] = replace(there["int8"], accepted=False)
        draft.write("model.mixed.onnx", (path / there["int8"].file).read_bytes())
        draft.manifest = replace(draft.manifest, precisions=there)
    run_budget(path, LENIENT, images(scenes))
    assert Bundle.open(path).manifest.latency[-1]["precision"] == "mixed"


def test_a_backend_that_cannot_run_is_one_clear_error(bundle: Path, scenes: Scenes) -> None:
    with pytest.raises(MeasureError, match="tensorrt"):
        run_budget(bundle, replace(LENIENT, backend="tensorrt"), images(scenes))


def test_a_disk_without_room_for_the_frames_is_one_clear_error(
    bundle: Path, scenes: Scenes, no_room: Callable[[], AbstractContextManager[None]]
) -> None:
    with no_room(), pytest.raises(MeasureError, match=r"frames\.npy: cannot be written: .*TMPDIR"):
        run_budget(bundle, LENIENT, images(scenes))


def test_the_net_has_run_before_its_time_is_taken() -> None:
    ran: list[int] = []
    frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    job = Job("toy.bundle", "fp32", frames=4, warmup=5)
    assert len(_time(lambda image: ran.append(int(image[0, 0, 0])), frames, job)) == 4
    assert len(ran) >= 5 + 4
    assert ran[-4:] == [0, 1, 2, 0]


def rounds(latencies: Sequence[float]) -> list[Measurement]:
    return [Measurement("fp32", "b", "d", (1, 1), tuple(latencies), 1.0, 1.0)]


def test_noise_around_the_limit_passes_and_is_marked() -> None:
    rng = np.random.default_rng(0)
    latencies = rng.normal(100, 5, 200)
    budget = replace(LENIENT, latency_ms={"p50": float(np.median(latencies)) - 0.2})
    check = judge(budget, rounds(latencies))[0]
    assert check.verdict == "pass (within noise)"
    assert not check.decided
    slower = judge(budget, rounds(latencies * 1.1))[0]
    assert slower.verdict == "FAIL"
    assert slower.decided


def test_of_several_rounds_the_largest_memory_and_the_fastest_start_count() -> None:
    (first,) = rounds(range(1, 41))
    second = replace(first, startup_s=0.5, peak_memory_mb=3.0)
    found = {check.name: check.measured.value for check in judge(LENIENT, [first, second])}
    assert (found["start-up s"], found["peak MB"]) == (0.5, 3.0)
    assert found == {check.name: check.measured.value for check in judge(LENIENT, [second, first])}


@pytest.mark.parametrize(
    ("low", "value", "high", "at_most", "verdict"),
    [
        (1, 2, 3, True, "FAIL"),
        (0.5, 1.5, 3, True, "pass (within noise)"),
        (0.1, 0.5, 0.9, True, "pass"),
        (1, 1, 1, True, "pass"),
        (0.1, 0.5, 0.9, False, "FAIL"),
        (0.5, 0.9, 1.5, False, "pass (within noise)"),
        (1.1, 2, 3, False, "pass"),
        (1, 1, 1, False, "pass"),
    ],
)
def test_verdicts(low: float, value: float, high: float, at_most: bool, verdict: str) -> None:
    assert Check(
        "x", Interval(value, low, high), 0.95 if verdict == "FAIL" and at_most else 1.0, at_most
    ).verdict == (verdict)


def test_frames_come_in_the_budgets_size(tmp_path: Path, scenes: Scenes) -> None:
    assert {item.shape for item in frames_from(None, (48, 64), 3)} == {(48, 64, 3)}
    made = resized(images(scenes), (60, 80), 2)
    assert [item.shape for item in made] == [(60, 80, 3)] * 2
    assert made[0].flags.c_contiguous
    with pytest.raises(FramesError, match="no frames"):
        resized([], (60, 80))


def test_device_state_tells_at_least_the_processor() -> None:
    state = device_state()
    assert state["processor"]
    assert state["cores"] >= 1
    assert state["load_1min"] >= 0
