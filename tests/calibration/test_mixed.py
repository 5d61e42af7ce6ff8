"""Mixed precision on the small net: searched, written, reported, resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from safetrip_calibration import evaluator, trials
from safetrip_calibration.blocks import find_blocks
from safetrip_calibration.budget_file import Budget
from safetrip_calibration.calibrate import calibrate, measure_ranges
from safetrip_calibration.errors import FramesError
from safetrip_calibration.evaluator import Evaluator, evaluation_key
from safetrip_calibration.frames import LabelledFrame, SelectedFrames
from safetrip_calibration.graph import Graph, load
from safetrip_calibration.mixed import MixedOptions, _rank, calibrate_mixed
from safetrip_calibration.predict import predict_budget
from safetrip_calibration.roofline import predict
from safetrip_calibration.scales import parse_method
from safetrip_calibration.thresholds import Limits, Thresholds
from safetrip_calibration.trials import trial_key
from safetrip_sdk.backends import probe
from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import Scenes, make_manifest, make_model
from tests.calibration.test_fp16 import scaled
from tests.calibration.test_roofline import DEVICE

OPTIONS = MixedOptions(
    profile=DEVICE,
    frame_size=(120, 160),
    thresholds=Thresholds({"mixed": Limits(label_agreement=0.97)}),
    evaluation_count=3,
    count=3,
)


def int8_convolutions(bundle: Path, precision: str) -> set[str]:
    graph = Graph(load(Bundle.open(bundle).read(f"model.{precision}.onnx")))
    return {
        node.name
        for node in graph.nodes
        if node.op_type == "Conv" and graph.producer[node.input[0]].op_type == "DequantizeLinear"
    }


def test_blocks_cover_what_can_be_quantised_once(model: ModelProto) -> None:
    blocks = find_blocks(Graph(model))
    nodes = [node for members in blocks.values() for node in members]
    assert len(nodes) == len(set(nodes))
    assert blocks["project"] == ("node_project", "node_residual")
    assert blocks["crp"] == ("node_pool", "node_crp", "node_crp.sum")
    assert "node_logits" not in nodes


def test_blocks_are_ranked_by_what_they_lose_for_each_millisecond() -> None:
    saved = {"dear": 1.0, "cheap": 4.0, "harmless": 1.0, "no number": 9.0}
    lost = {"dear": 0.02, "cheap": 0.04, "harmless": 0.0, "no number": 0.0}

    def latency(in_float: Collection[str]) -> float:
        return 20.0 - sum(ms for name, ms in saved.items() if name not in in_float)

    sensitivity: dict[str, dict[str, Any]] = {
        name: {"label_agreement": 1.0 - value / 2, "depth_error_to_fp32": value / 2}
        for name, value in lost.items()
    }
    found = {"pixels": 1, "frames": 1, "first": "a"}
    sensitivity["no number"].update(depth_error_to_fp32=None, depth_not_finite=found)
    ranking = _rank(sensitivity, latency, SimpleNamespace(blocks=dict.fromkeys(saved, ())))
    assert ranking == ["no number", "dear", "cheap", "harmless"]


def test_search_writes_model_report_and_plot_and_goes_on_where_it_was(bundle: Path) -> None:
    frames = Scenes(6)
    result = calibrate_mixed(bundle, frames, frames, OPTIONS)
    assert result.feasible
    assert result.chosen is not None
    assert result.chosen.strain <= 1.0
    manifest = Bundle.open(bundle).manifest
    record = manifest.calibration["precisions"]["mixed"]
    in_float = {block for block, precision in record["assignment"].items() if precision == "fp16"}
    assert in_float == set(result.chosen.in_float)
    blocks = find_blocks(Graph(load(Bundle.open(bundle).read("model.fp32.onnx"))))
    kept = {node for block in in_float for node in blocks[block]}
    found = int8_convolutions(bundle, "mixed")
    assert found
    assert not found & kept
    report = json.loads(result.report.read_text())
    assert set(report["sensitivity"]) == set(blocks)
    assert report["front"][0]["latency_ms"] <= report["front"][-1]["latency_ms"]
    assert result.report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    steps: list[str] = []
    again = calibrate_mixed(bundle, frames, frames, OPTIONS, lambda done, total, what: steps.append(what))
    assert again.chosen == result.chosen


def test_an_interrupted_search_keeps_its_trials(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = Scenes(6)
    calls = []
    judge = Evaluator.__call__

    def counting(self: Evaluator, model: ModelProto) -> dict:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return judge(self, model)

    monkeypatch.setattr(Evaluator, "__call__", counting)
    with pytest.raises(KeyboardInterrupt):
        calibrate_mixed(bundle, frames, frames, OPTIONS)
    (file,) = (bundle.parent / "toy.bundle.cache").glob("trials-*.json")
    assert len(json.loads(file.read_text())) == 4
    assert "mixed" not in Bundle.open(bundle).manifest.precisions
    calibrate_mixed(bundle, frames, frames, OPTIONS)
    # The four that were done are not done again: 12 blocks, all INT8, all float and the search's own.
    assert len(calls) - 5 == len(json.loads(file.read_text())) - 4


def test_a_disk_that_is_full_names_the_file_and_costs_no_trial(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, no_room: Callable[[], AbstractContextManager[None]]
) -> None:
    calls = []
    write = trials.atomic.write_text

    def third_fails(path: Path, text: str) -> None:
        calls.append(path)
        with no_room() if len(calls) == 3 else nullcontext():
            write(path, text)

    monkeypatch.setattr(trials.atomic, "write_text", third_fails)
    with pytest.raises(OSError, match="large") as caught:
        calibrate_mixed(bundle, Scenes(3), Scenes(2), OPTIONS)
    assert caught.value.filename == str(calls[-1])
    (file,) = (bundle.parent / "toy.bundle.cache").iterdir()
    assert len(json.loads(file.read_text())) == 2
    Bundle.open(bundle).verify()


def test_trials_are_those_of_the_labels_and_limits_they_were_judged_by(bundle: Path) -> None:
    class Corrected(Scenes):
        def __getitem__(self, index: int) -> LabelledFrame:
            item = super().__getitem__(index)
            return item if item.labels is None else replace(item, labels=np.full_like(item.labels, 1))

    first = calibrate_mixed(bundle, Scenes(6), Scenes(6), OPTIONS)
    again = calibrate_mixed(bundle, Scenes(6), Corrected(6), OPTIONS)
    assert again.points[0].in_float == first.points[0].in_float
    assert again.points[0].metrics["miou"] != first.points[0].metrics["miou"]
    thresholds = replace(OPTIONS.thresholds, min_class_share=0.9)
    few = calibrate_mixed(bundle, Scenes(6), Scenes(6), replace(OPTIONS, thresholds=thresholds))
    assert first.points[0].metrics["worst_class"] is not None
    assert few.points[0].metrics["worst_class"] is None  # no class has nine tenths of the pixels
    assert len(list((bundle.parent / "toy.bundle.cache").glob("trials-*.json"))) == 3


def test_what_an_evaluation_depends_on(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, frames = Bundle.open(bundle).manifest, SelectedFrames(Scenes(2), [0, 1])
    key = evaluation_key(frames, manifest, 0.0)
    assert key == evaluation_key(frames, replace(manifest, name="other"), 0.0)
    others = {
        evaluation_key(SelectedFrames(Scenes(2), [0]), manifest, 0.0),
        evaluation_key(frames, replace(manifest, max_depth=manifest.max_depth / 2), 0.0),
        evaluation_key(frames, manifest, 0.1),
    }
    monkeypatch.setattr(evaluator, "probe", lambda name: replace(probe(name), available=False))
    assert len({key, *others, evaluation_key(frames, manifest, 0.0)}) == 5


def test_frames_to_judge_by_are_asked_for_before_anything_runs(bundle: Path) -> None:
    steps: list[object] = []
    with pytest.raises(FramesError, match="no frames for judging trials"):
        calibrate_mixed(bundle, Scenes(3), Scenes(0), OPTIONS, lambda *step: steps.append(step))
    assert steps == []


def test_trials_of_another_version_are_not_gone_on_with(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measure_ranges(Bundle.open(bundle), Scenes(1), 1, 0)
    manifest, frames = Bundle.open(bundle).manifest, SelectedFrames(Scenes(1), [0])

    def key() -> str:
        return trial_key(measured, parse_method("mse"), evaluation_key(frames, manifest, 0.0))

    keys = [key()]
    assert key() == keys[0]
    assert trial_key(measured, parse_method("minmax"), evaluation_key(frames, manifest, 0.0)) != keys[0]
    monkeypatch.setattr(trials, "__version__", "0.0.0")
    keys.append(key())
    monkeypatch.setattr(trials, "version", lambda name: "0.0.0")
    keys.append(key())
    monkeypatch.setattr(evaluator, "probe", lambda name: replace(probe(name), version="0.0.0"))
    assert len({*keys, key()}) == 4


def test_a_latency_that_cannot_be_kept_is_said_with_the_next_step(bundle: Path) -> None:
    frames = Scenes(6)
    result = calibrate_mixed(bundle, frames, frames, replace(OPTIONS, latency_ms=1e-6))
    assert not result.feasible
    assert "above 1e-06 ms" in result.message
    assert "quantisation-aware training" in result.message


@pytest.mark.parametrize("limits", [Limits(), Limits(label_agreement=0.97)])
def test_the_search_and_the_budget_predict_the_same_of_a_net_with_nodes_in_fp32(
    tmp_path: Path, limits: Limits
) -> None:
    path = tmp_path / "toy.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", scaled(make_model(), "expand.weight", 1e5).SerializeToString())
    calibrate(path, Scenes(3), ("fp16", "int8"), count=3)
    options = replace(OPTIONS, thresholds=Thresholds({"mixed": limits}))
    result = calibrate_mixed(path, Scenes(3), Scenes(3), options)
    bundle = Bundle.open(path)
    budget = Budget("b", "d", OPTIONS.frame_size, {})
    found = predict_budget(bundle, budget, DEVICE).predictions
    assert result.chosen is not None
    assert found["mixed"].total_ms == pytest.approx(result.chosen.latency_ms)
    model = Graph(load(bundle.read("model.fp32.onnx"))).model
    for name in ("fp16", "int8"):
        kept = bundle.manifest.calibration["precisions"][name]["kept_fp32"]
        assert "node_expand" in kept
        given = dict.fromkeys(kept, "fp32")
        assert found[name] == predict(model, OPTIONS.frame_size, DEVICE, name, given)
        assert found[name].total_ms > predict(model, OPTIONS.frame_size, DEVICE, name).total_ms


def test_accuracy_that_cannot_be_kept_leaves_the_bundle_alone(bundle: Path) -> None:
    frames = Scenes(6)
    impossible = Thresholds({"mixed": Limits(depth_error_to_fp32=1e-9)})
    result = calibrate_mixed(bundle, frames, frames, replace(OPTIONS, thresholds=impossible))
    assert result.chosen is None
    assert "no assignment keeps the accuracy limits" in result.message
    assert "mixed" not in Bundle.open(bundle).manifest.precisions
