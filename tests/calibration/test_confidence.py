"""Confidence against known temperatures, torchmetrics' calibration error, and the graph's own outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from torchmetrics.functional.classification import multiclass_calibration_error

from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.confidence import (
    ReliabilityBins,
    calibrate_confidence,
    fit_temperature,
    set_temperature,
    temperature_of,
)
from safetrip_calibration.errors import CalibrationError, FramesError
from safetrip_calibration.frames import LabelledFrame
from safetrip_calibration.graph import load
from safetrip_calibration.runners import onnx_session
from safetrip_sdk import Runtime
from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import Scenes


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _bolder(model: ModelProto) -> ModelProto:
    """The same labels, logits twice as large."""
    for tensor in model.graph.initializer:
        if tensor.name in ("logits.weight", "logits.bias"):
            value = numpy_helper.to_array(tensor) * np.float32(2)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return model


class _Right:
    """Scenes of which a bundle's net has three quarters right, by chance."""

    def __init__(self, scenes: Scenes, bundle: Path) -> None:
        self.scenes = scenes
        self.names, self.sources = scenes.names, scenes.sources
        self.labelled = [True] * len(scenes)
        self.session = onnx_session(Bundle.open(bundle).read("model.fp32.onnx"))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> LabelledFrame:
        item = self.scenes[index]
        (labels,) = self.session.run(["labels"], {"frame": item.frame[None]})
        rng = np.random.default_rng(index)
        wrong = (labels[0] + 1) % 5
        truth = np.where(rng.random(labels.shape[1:]) < 0.75, labels[0], wrong).astype(np.uint8)
        rows, columns = (
            np.arange(side) * small // side for side, small in zip(item.frame.shape, truth.shape)
        )
        return replace(item, labels=np.ascontiguousarray(truth[rows[:, None], columns]))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 6.0), st.integers(0, 100))
def test_the_temperature_that_made_the_labels_is_found(temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (20_000, 6))
    chances = _softmax(logits).cumsum(axis=1)
    labels = (rng.random((len(logits), 1)) > chances).sum(axis=1).clip(max=5)
    # A net that says the same, but `temperature` times as boldly.
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    chances = _softmax(rng.normal(0, 2, (5000, 4)))
    labels = rng.integers(0, 4, 5000)
    bins = ReliabilityBins(15)
    for part in range(0, 5000, 1000):
        few = slice(part, part + 1000)
        bins.update(chances[few].max(axis=1), chances[few].argmax(axis=1) == labels[few])
    expected = multiclass_calibration_error(torch.tensor(chances), torch.tensor(labels), 4, n_bins=15)
    assert bins.error == pytest.approx(float(expected), abs=1e-6)


def test_a_confidence_on_a_boundary_belongs_to_the_bin_below() -> None:
    bins = ReliabilityBins(4)
    bins.update(np.array([0.0, 0.25, 0.26, 0.5, 1.0]), np.array([True, False, True, True, True]))
    assert bins.pixels.tolist() == [2, 2, 0, 1]
    assert bins.right.tolist() == [1, 2, 0, 1]


def test_the_graph_divides_its_logits(model: ModelProto, scenes: Scenes) -> None:
    frame = {"frame": scenes[0].frame[None]}
    session = onnx_session(model.SerializeToString())
    changed = set_temperature(model, 2.5)
    labels, depth, _ = session.run(None, frame)
    new_labels, new_depth, confidence = onnx_session(changed.SerializeToString()).run(None, frame)
    np.testing.assert_array_equal(new_labels, labels)
    np.testing.assert_array_equal(new_depth, depth)
    assert temperature_of(changed) == pytest.approx(2.5)
    # Back to none, it is the graph that it was; a second one replaces the first.
    for found, expected in ((set_temperature(changed, 1.0), model), (set_temperature(model, 2.5), changed)):
        result = onnx_session(found.SerializeToString()).run(None, frame)[2]
        np.testing.assert_array_equal(result, onnx_session(expected.SerializeToString()).run(None, frame)[2])
    assert confidence.mean() < session.run(None, frame)[2].mean()


def test_every_precision_of_a_bundle_is_fitted(bundle: Path, scenes: Scenes) -> None:
    calibrate(bundle, scenes, precision=("fp16", "int8"), count=4)
    with Bundle.edit(bundle) as draft:
        draft.write("engines/openvino-int8.plan", b"with the confidence of before")
    results = calibrate_confidence(bundle, scenes)
    made = Bundle.open(bundle)
    made.verify()
    assert not [name for name in made.manifest.files if name.startswith("engines/")]
    assert set(results) == set(made.manifest.precisions) == {"fp32", "fp16", "int8"}
    for precision, result in results.items():
        assert result.ece_after < result.ece_before
        assert result.fitted_on + result.measured_on == sum(source != "depth" for source in scenes.sources)
        graph = load(made.read(made.manifest.precisions[precision].file))
        assert temperature_of(graph) == pytest.approx(result.temperature, rel=1e-3)
        assert made.manifest.calibration["confidence"][precision]["ece_after"] == result.ece_after
    frame = scenes[0].frame
    said = {}
    for backend in ("openvino", "onnxruntime"):
        with Runtime(bundle, backend=backend, precision="fp32") as runtime:
            said[backend] = runtime(frame).confidence
    np.testing.assert_allclose(said["openvino"].astype(int), said["onnxruntime"].astype(int), atol=1)


def test_a_second_fit_finds_the_same_temperature(bundle: Path, scenes: Scenes) -> None:
    with Bundle.edit(bundle) as draft:  # a net that is half as sure as it may be
        draft.write("model.fp32.onnx", _bolder(load(draft.read("model.fp32.onnx"))).SerializeToString())
    scenes = _Right(scenes, bundle)
    first = calibrate_confidence(bundle, scenes)["fp32"]
    assert 0.2 < first.temperature < 5, "at a limit it would be the same whatever was fitted"
    assert abs(first.temperature - 1) > 0.1
    second = calibrate_confidence(bundle, scenes)["fp32"]
    assert second.temperature == pytest.approx(first.temperature, rel=1e-3)
    assert second.ece_before == first.ece_before
    # A precision made afterwards has FP32's temperature, and no fit of its own.
    calibrate(bundle, scenes, precision="int8", count=4)
    made = Bundle.open(bundle)
    assert temperature_of(load(made.read("model.int8.onnx"))) == pytest.approx(first.temperature, rel=1e-3)
    assert set(made.manifest.calibration["confidence"]) == {"fp32"}
    assert set(calibrate_confidence(bundle, scenes)) == {"fp32", "int8"}
    calibrate(bundle, scenes, precision="int8", count=4)
    assert set(Bundle.open(bundle).manifest.calibration["confidence"]) == {"fp32"}


def test_frames_without_labels_take_no_part_whatever_their_source(bundle: Path) -> None:
    mixed = Scenes(9)
    mixed.sources = ["surface", "kitti", "polygon", "depth", "surface", "kitti", "robot", "polygon", "kitti"]
    (found,) = calibrate_confidence(bundle, mixed).values()
    assert (found.fitted_on, found.measured_on) == (2, 2)


class Voids(Scenes):
    """Scenes whose masks hold nothing but 255, except in the frames `having`."""

    def __init__(self, count: int, having: Sequence[int]) -> None:
        super().__init__(count)
        self.having = having

    def __getitem__(self, index: int) -> LabelledFrame:
        item = super().__getitem__(index)
        if item.labels is None or index in self.having:
            return item
        return replace(item, labels=np.full_like(item.labels, 255))


def test_masks_that_label_nothing_take_no_part(bundle: Path) -> None:
    # Of the frames that have masks, 0, 1, 3, 4, 6 and 7, every other one is measured on: 1, 4 and 7.
    (found,) = calibrate_confidence(bundle, Voids(9, having=(0, 3, 6))).values()
    assert (found.fitted_on, found.measured_on) == (2, 1)
    assert 0 < found.ece_after < 1
    with pytest.raises(FramesError, match="at least two frames with class labels"):
        calibrate_confidence(bundle, Voids(9, having=(3,)))


def test_it_needs_labels(bundle: Path, scenes: Scenes) -> None:
    before = (bundle / "manifest.json").read_bytes()
    unlabelled = Scenes(6)
    unlabelled.sources = ["depth"] * 6
    with pytest.raises(FramesError, match="labels"):
        calibrate_confidence(bundle, unlabelled)
    with pytest.raises(CalibrationError, match="finite"):
        fit_temperature(np.full((3, 2), np.nan), np.zeros(3, int))
    assert (bundle / "manifest.json").read_bytes() == before
