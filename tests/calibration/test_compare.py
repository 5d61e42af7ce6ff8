"""Every precision on every backend here against FP32, streamed, judged and recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.compare import compare
from safetrip_calibration.compare_table import comparison_table
from safetrip_calibration.comparison import Comparison
from safetrip_calibration.errors import CalibrationError, FramesError
from safetrip_calibration.runners import RUNTIME_BACKENDS, make_runner
from safetrip_calibration.thresholds import Limits, Thresholds
from safetrip_sdk.backends import probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.runtime import Runtime
from tests.calibration.nets import CLASSES, Scenes, make_manifest, make_model

LOOSE = Thresholds({})
CPU = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory, model: ModelProto, scenes: Scenes) -> Path:
    path = tmp_path_factory.mktemp("compare") / "toy.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString())
    calibrate(path, scenes, ("fp16", "int8"), count=6)
    return path


@pytest.fixture(scope="module")
def result(quantised: Path, scenes: Scenes) -> Comparison:
    return compare(quantised, scenes, backends=CPU, thresholds=LOOSE)


def test_every_pair_ran_on_the_same_frames(result: Comparison) -> None:
    pairs = [(item.precision, item.backend) for item in (result.reference, *result.candidates)]
    assert pairs == [(p, b) for p in ("fp32", "fp16", "int8") for b in CPU]
    assert result.frames == 9


def test_figures_are_those_of_the_outputs(result: Comparison, model: ModelProto, scenes: Scenes) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    hits = truths = guesses = np.zeros(CLASSES)
    for index in range(9):
        item = scenes[index]
        if item.labels is None:
            continue
        labels = session.run(["labels"], {"frame": item.frame[None]})[0][0]
        rows = ((np.arange(labels.shape[0]) + 0.5) * item.labels.shape[0] / labels.shape[0]).astype(int)
        columns = ((np.arange(labels.shape[1]) + 0.5) * item.labels.shape[1] / labels.shape[1]).astype(int)
        truth = item.labels[np.ix_(rows, columns)]
        one = np.eye(CLASSES + 1)
        valid = truth != 255
        t, g = one[np.minimum(truth, CLASSES)[valid]], one[labels[valid]]
        hits = hits + (t * g).sum(0)[:CLASSES]
        truths = truths + t.sum(0)[:CLASSES]
        guesses = guesses + g.sum(0)[:CLASSES]
    expected = (hits / (truths + guesses - hits)).mean()
    assert result.reference.metrics["miou"] == pytest.approx(expected)


def test_half_is_closer_to_full_precision_than_int8(result: Comparison) -> None:
    of = {(item.precision, item.backend): item.metrics for item in result.candidates}
    assert of["fp32", "openvino"]["label_agreement"] > 0.999
    assert of["fp16", "onnxruntime"]["label_agreement"] > of["int8", "onnxruntime"]["label_agreement"]
    assert of["fp16", "openvino"]["depth_error_to_fp32"] < of["int8", "openvino"]["depth_error_to_fp32"] < 0.2
    assert 0.5 < of["int8", "openvino"]["worst_frame"]["label_agreement"] < 1.0


def test_frames_are_read_once_each(quantised: Path) -> None:
    frames = Scenes(4)
    compare(quantised, frames, precisions=["fp16"], backends=["onnxruntime"], thresholds=LOOSE, write=False)
    assert frames.reads == 5  # one more to try the runners


def test_frames_of_different_sizes(quantised: Path) -> None:
    class Mixed(Scenes):
        def __getitem__(self, index: int):
            self.size = ((120, 160), (100, 140), (90, 130))[index % 3]
            return super().__getitem__(index)

    found = compare(
        quantised, Mixed(6), precisions=["fp16"], backends=["openvino"], thresholds=LOOSE, write=False
    )
    assert found.candidates[0].metrics["label_agreement"] > 0.98


def test_verdicts_and_figures_go_into_the_manifest(quantised: Path, scenes: Scenes, tmp_path: Path) -> None:
    path = tmp_path / "copy.bundle"
    shutil.copytree(quantised, path)
    strict = Thresholds({"int8": Limits(label_agreement=1.0)})
    found = compare(path, scenes, backends=["onnxruntime"], thresholds=strict)
    assert not found.accepted
    manifest = Bundle.open(path).manifest
    assert manifest.precisions["int8"].accepted is False
    assert manifest.precisions["fp16"].accepted is True
    assert manifest.precisions["fp32"].accepted is True
    stored = manifest.precisions["int8"].metrics["compare"]
    assert stored["frames_sha256"] == found.frames_sha256
    assert stored["limits"] == {"label_agreement": 1.0}
    assert "label_agreement" in stored["backends"]["onnxruntime"]["violations"][0]
    assert stored["backends"]["onnxruntime"]["unjudged"] == []
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_a_comparison_of_less_leaves_the_other_verdicts_where_they_are(
    quantised: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy.bundle"
    shutil.copytree(quantised, path)
    strict = Thresholds({"fp32": Limits(depth_error_to_fp32=0.0), "int8": Limits(label_agreement=1.0)})
    full = compare(path, Scenes(4), backends=CPU, thresholds=strict)
    before = Bundle.open(path).manifest.precisions
    assert [before[name].accepted for name in ("fp32", "fp16", "int8")] == [False, True, False]
    assert full.standing == ()

    found = compare(path, Scenes(2), ["int8"], ["onnxruntime"], LOOSE)
    after = Bundle.open(path).manifest.precisions
    assert (after["fp32"], after["fp16"]) == (before["fp32"], before["fp16"])
    assert found.accepted  # what ran
    assert after["int8"].accepted is False  # for OpenVINO still computes what it did
    assert [text.split(":")[0] for text in found.standing] == ["int8 openvino"]
    assert "rejected before, not compared again" in comparison_table(found)
    assert found.to_dict()["standing"] == list(found.standing)
    (now, then) = (item["int8"].metrics["compare"] for item in (after, before))
    assert (now["frames"], now["limits"]) == (2, {})
    assert now["backends"]["onnxruntime"]["violations"] == []
    held = {
        "frames": 4,
        "frames_sha256": full.frames_sha256,
        "limits": then["limits"],
        "min_class_share": 0.0,
    }
    assert now["backends"]["openvino"] == {**held, **then["backends"]["openvino"]}

    compare(path, Scenes(3), ["int8"], ["onnxruntime"], LOOSE)  # the record of OpenVINO's own frames stays
    assert (
        Bundle.open(path).manifest.precisions["int8"].metrics["compare"]["backends"]["openvino"]
        == (now["backends"]["openvino"])
    )
    done = compare(path, Scenes(2), ["int8"], ["openvino"], LOOSE)
    info = Bundle.open(path).manifest.precisions["int8"]
    assert info.accepted is True
    assert done.standing == ()
    assert set(info.metrics["compare"]["backends"]) == set(CPU)


def test_table_names_what_was_rejected_and_what_could_not_run(quantised: Path) -> None:
    strict = Thresholds({"int8": Limits(label_agreement=1.0)})
    found = compare(quantised, Scenes(2), precisions=["int8"], thresholds=strict, write=False)
    text = comparison_table(found)
    assert "REJECTED" in text
    assert "int8 onnxruntime: label_agreement" in text
    for name in found.unavailable:
        assert f"not run: {name}" in text


def test_frames_without_truth_judge_against_fp32_alone(quantised: Path) -> None:
    class Bare(Scenes):
        def __getitem__(self, index: int):
            item = super().__getitem__(index)
            return type(item)(item.name, item.frame, item.source)

    found = compare(quantised, Bare(2), precisions=["int8"], backends=["onnxruntime"], write=False)
    assert found.candidates[0].metrics["miou"] is None
    assert found.candidates[0].metrics["label_agreement"] > 0.8
    assert "-" in comparison_table(found)
    # The limits of int8 are of labels and depth alone: nothing is known of it.
    assert found.candidates[0].violations == (
        "none of its limits could be judged: the frames have neither labels nor depth",
    )
    half = compare(quantised, Bare(2), precisions=["fp16"], backends=["onnxruntime"], write=False)
    assert half.accepted
    assert "fp16 onnxruntime: not judged, as the frames have no truth for it: miou_drop," in comparison_table(
        half
    )


def test_a_backend_asked_for_that_cannot_run_is_no_acceptance(quantised: Path, scenes: Scenes) -> None:
    absent = next(name for name in RUNTIME_BACKENDS if not probe(name).available)
    with pytest.raises(CalibrationError, match=f"backend {absent} cannot run here: ."):
        compare(quantised, scenes, ["int8"], ["onnxruntime", absent], thresholds=LOOSE, write=False)


def test_no_change_has_no_sign_and_a_loss_is_negative(result: Comparison) -> None:
    text = comparison_table(result)
    assert "-0.00" not in text
    for item in result.candidates:
        metrics = item.metrics
        assert metrics["miou"] is not None
        (line,) = [row for row in text.splitlines() if row.startswith(f"{item.precision} {item.backend}  ")]
        gained = 100 * (metrics["miou"] - result.reference.metrics["miou"])
        assert float(line.split()[4]) == pytest.approx(gained, abs=0.006)


def test_bad_arguments(quantised: Path, bundle: Path, scenes: Scenes) -> None:
    with pytest.raises(FramesError, match="no frames for comparison"):
        compare(quantised, Scenes(0))
    with pytest.raises(CalibrationError, match="holds no int8"):
        compare(bundle, scenes, precisions=["int8"])
    with pytest.raises(CalibrationError, match="backend 'cuda'"):
        compare(quantised, scenes, backends=["cuda"])


def test_runtime_runner_is_a_polygraphy_runner(quantised: Path, scenes: Scenes) -> None:
    bundle = Bundle.open(quantised)
    with make_runner(bundle, "fp32", "openvino") as runner:
        outputs = runner.infer({"frame": scenes[0].frame[None]})
        assert {name: value.shape for name, value in outputs.items()} == {
            "labels": (1, 64, 96),
            "depth": (1, 64, 96),
            "confidence": (1, 64, 96),
        }
        assert runner.last_inference_time() > 0


def test_onnxruntime_and_openvino_agree_on_int8_with_large_biases(tmp_path: Path, scenes: Scenes) -> None:
    """Biases that onnxruntime's own bias quantisation would turn into FP16 infinities."""
    model = make_model()
    for item in model.graph.initializer:
        if item.name in ("fine.bias", "project.bias", "lateral.bias"):
            value = numpy_helper.to_array(item) * np.float32(200)
            item.CopyFrom(numpy_helper.from_array(value, item.name))
        if item.name == "expand.weight":
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) / np.float32(50), item.name))
    path = tmp_path / "biased.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString())
    calibrate(path, scenes, "int8", count=3)
    bundle = Bundle.open(path)
    depths = {}
    for backend in CPU:
        with make_runner(bundle, "int8", backend) as runner:
            depths[backend] = runner.infer({"frame": scenes[4].frame[None]})["depth"].copy()
    with Runtime(path, backend="onnxruntime", precision="int8") as runtime:
        depths["the robot's onnxruntime"] = runtime(scenes[4].frame).depth[None]
    for depth in depths.values():
        assert np.median(np.abs(depth / depths["openvino"] - 1)) < 0.02
