"""Depth that is NaN or infinite is accepted nowhere, chosen by no search, and named where it was seen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from safetrip_calibration.accuracy import DepthError
from safetrip_calibration.bisect import divergences, first_divergence
from safetrip_calibration.calibrate import Calibration, Ranges, calibrate
from safetrip_calibration.compare import compare
from safetrip_calibration.compare_table import comparison_table
from safetrip_calibration.comparison import Comparison
from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.evaluator import Evaluator
from safetrip_calibration.evidence import save_worst_frames
from safetrip_calibration.frames import SelectedFrames
from safetrip_calibration.graph import load
from safetrip_calibration.mixed import calibrate_mixed
from safetrip_calibration.not_finite import NotFinite, depth_faults
from safetrip_calibration.search import search, strain
from safetrip_calibration.thresholds import Limits, Thresholds, load_thresholds
from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import SIZE, Scenes, make_manifest, make_model
from tests.calibration.test_mixed import OPTIONS

ALL = SIZE[0] * SIZE[1]  # pixels of a frame's depth
FAULT = {"pixels": 3, "frames": 1, "first": "x"}


def without_depth(model: ModelProto) -> ModelProto:
    """The same net with NaN for the bias of its depth head."""
    for item in model.graph.initializer:
        if item.name.startswith("depth.out.bias"):
            bias = np.full_like(numpy_helper.to_array(item), np.nan)
            item.CopyFrom(numpy_helper.from_array(bias, item.name))
    return model


def spoil(bundle: Path, precision: str) -> None:
    name = f"model.{precision}.onnx"
    with Bundle.edit(bundle) as draft:
        draft.write(name, without_depth(load(draft.read(name))).SerializeToString())


@pytest.fixture
def spoilt(bundle: Path, scenes: Scenes) -> Path:
    """A bundle whose INT8 gives depth that is NaN, in a state that the robot's `auto` would take."""
    calibrate(bundle, scenes, ("fp16", "int8"), count=2)
    spoil(bundle, "int8")
    return bundle


def strictly(result: Comparison) -> str:
    return json.dumps(result.to_dict(), allow_nan=False)


def test_pixels_and_the_first_frame_are_counted() -> None:
    seen = NotFinite()
    depth = np.ones((1, 2, 3), np.float32)
    seen.update("a", depth)
    assert seen.found is None
    seen.update("b", np.where(np.arange(6) < 2, np.nan, 1.0).reshape(1, 2, 3))
    seen.update("c", np.full((1, 2, 3), -np.inf))
    assert seen.found == {"pixels": 8, "frames": 2, "first": "b"}
    (text,) = depth_faults({"depth_not_finite": seen.found})
    assert text == "depth is not a finite number in 8 pixels of 2 frames (the first: b)"
    assert depth_faults({}) == depth_faults({"depth_not_finite": None}) == []


def test_figures_of_depth_are_over_the_pixels_that_have_a_number() -> None:
    truth = np.array([[1.0, 2.0, np.nan, np.inf, 4.0]], np.float32)
    error = DepthError(max_depth=math.inf)
    error.update(np.array([[2.0, np.nan, 1.0, 1.0, np.inf]], np.float32), truth)
    assert (error.pixels, error.abs_rel, error.rmse, error.delta1) == (1, 1.0, 1.0, 0.0)


@pytest.mark.parametrize("name", list(vars(load_thresholds().limits("fp16"))))
def test_nan_crosses_every_limit(name: str) -> None:
    metrics = {"label_agreement": 1.0, "worst_class": "x", name: math.nan}
    for limit in (0.0, 0.5):
        limits = Limits(**{name: limit})
        assert len(limits.violations(metrics)) == 1
        assert strain(metrics, limits) == math.inf


@pytest.mark.parametrize("key", ["depth_not_finite", "reference_not_finite"])
def test_no_limits_are_wide_enough(key: str) -> None:
    metrics = {"label_agreement": 1.0, key: FAULT}
    for limits in (Limits(), Limits(label_agreement=0.0), Limits(depth_error_to_fp32=1e9)):
        (violation,) = limits.violations(metrics)
        assert "3 pixels of 1 frame (the first: x)" in violation
        assert strain(metrics, limits) == math.inf


def test_the_search_puts_back_the_block_that_spoils_depth() -> None:
    def trial(in_float: Sequence[str]) -> dict[str, object]:
        spoilt = {} if "b" in in_float else {"depth_not_finite": FAULT}
        return {"label_agreement": 1.0, "depth_error_to_fp32": None if spoilt else 0.0, **spoilt}

    limits = Limits(depth_error_to_fp32=0.01)
    chosen, points = search(["a", "b", "c"], trial, lambda blocks: 1.0 + len(blocks), limits)
    assert chosen is not None
    assert chosen.in_float == ("b",)
    assert points[0].strain == math.inf


@pytest.mark.parametrize("thresholds", [load_thresholds(), Thresholds({})])
def test_a_precision_without_depth_is_rejected_and_the_table_printed(
    spoilt: Path, thresholds: Thresholds, tmp_path: Path
) -> None:
    frames = Scenes(2)  # with labels alone: nothing else would tell
    backends = ["onnxruntime", "openvino"]
    result = compare(spoilt, frames, ["int8"], backends, thresholds)
    assert not result.accepted
    assert Bundle.open(spoilt).manifest.precisions["int8"].accepted is False
    text = comparison_table(result)
    for backend in backends:
        fault = f"int8 {backend}: depth is not a finite number in {2 * ALL} pixels of 2 frames"
        assert f"{fault} (the first: scene_000)" in text
    assert text.count("REJECTED") == 2
    assert "none of its limits" not in text
    assert "nan" not in text.lower()
    assert f'"pixels": {2 * ALL}' in strictly(result)
    assert set(save_worst_frames(spoilt, frames, result, tmp_path)) == {f"int8 {name}" for name in backends}


def test_nothing_is_accepted_beside_an_fp32_without_depth(spoilt: Path) -> None:
    spoil(spoilt, "fp32")
    result = compare(spoilt, Scenes(1), ["fp16"], ["onnxruntime"], Thresholds({}))
    assert not result.accepted
    (violation,) = result.candidates[0].violations
    assert violation.startswith(f"FP32's depth, which it is held against, is not a finite number in {ALL} ")
    alone = compare(spoilt, Scenes(1), ["fp32"], ["onnxruntime"], Thresholds({}))
    assert not alone.accepted
    assert Bundle.open(spoilt).manifest.precisions["fp32"].accepted is False
    assert "fp32 onnxruntime: depth is not a finite number in" in comparison_table(alone)
    assert comparison_table(alone).count("REJECTED") == 1
    assert strictly(result)
    assert strictly(alone)


def poisoned(only: str | None) -> Callable[..., Calibration]:
    """`Ranges.build` of nets whose depth is NaN wherever the node `only` is in INT8 (None: always)."""
    build = Ranges.build

    def spoilt(self: Ranges, precision: str, method: object, exclude: Sequence[str] = ()) -> Calibration:
        made = build(self, precision, method, exclude)  # type: ignore[arg-type]
        if only not in exclude:
            without_depth(made.model)
        return made

    return spoilt


def strict_json(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{path.name} holds {name}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_search_never_takes_an_assignment_without_depth(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranges, "build", poisoned("node_lateral"))
    result = calibrate_mixed(bundle, Scenes(3), Scenes(2), OPTIONS)
    assert result.chosen is not None
    assert "lateral" in result.chosen.in_float
    assert all("lateral" in point.in_float for point in result.front)
    report = strict_json(result.report)
    first = report["points"][0]
    assert (first["strain"], first["depth_not_finite"]["first"]) == (None, "scene_000")
    assert report["sensitivity"]["lateral"]["depth_not_finite"]["pixels"] == 2 * ALL
    assert report["sensitivity"]["stem"]["depth_not_finite"] is None
    for file in result.report.parent.glob("trials-*.json"):
        strict_json(file)


def test_a_search_in_which_nothing_has_depth_says_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranges, "build", poisoned(None))
    result = calibrate_mixed(bundle, Scenes(3), Scenes(1), OPTIONS)
    assert (result.chosen, result.feasible, result.front) == (None, False, [])
    assert f"depth is not a finite number in {ALL} pixels of 1 frame (the first: scene_000)" in result.message
    assert strict_json(result.report)["message"] == result.message
    assert result.report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "mixed" not in Bundle.open(bundle).manifest.precisions


def test_trials_are_not_held_against_an_fp32_without_depth() -> None:
    frames = SelectedFrames(Scenes(1), [0])
    with pytest.raises(
        CalibrationError, match=f"FP32's depth .* {ALL} pixels of 1 frame .*scene_000.*export"
    ):
        Evaluator(without_depth(make_model()), frames, make_manifest(), 0.0)


def test_the_first_tensor_that_is_no_number_is_found_and_written(model: ModelProto, scenes: Scenes) -> None:
    other = ModelProto()
    other.CopyFrom(model)
    items = divergences(model, without_depth(other), scenes[0])
    found = first_divergence(items, 0.1)
    assert found is not None
    assert (found.tensor, found.to_dict()["error"]) == ("depth.out", None)
    assert json.dumps([item.to_dict() for item in items], allow_nan=False)
