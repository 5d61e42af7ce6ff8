"""Into the bundle: all of it or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto

from safetrip_calibration import calibrate as module
from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.errors import CalibrationError, FramesError
from safetrip_calibration.graph import Graph, load
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.errors import BundleCorruptError
from tests.calibration.nets import Scenes, make_manifest


def files(path: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in path.rglob("*") if item.is_file()}


def test_int8_and_fp16_go_into_the_bundle(bundle: Path, scenes: Scenes) -> None:
    result = calibrate(bundle, scenes, precision=("fp16", "int8"), method="mse", count=6, seed=1)
    made = Bundle.open(bundle)
    made.verify()
    assert set(made.manifest.precisions) == {"fp32", "fp16", "int8"}
    assert result.frames == 6
    record = made.manifest.calibration
    assert record["method"] == "mse"
    assert len(record["frames"]) == record["count"] == 6
    assert record["frames_sha256"] == result.frames_sha256
    assert record["precisions"]["int8"]["skipped"] == result.skipped
    assert "node_stem" in result.quantised
    int8 = Graph(load(made.read("model.int8.onnx")))
    assert int8.types["stem.weight_q"] == TensorProto.INT8
    assert made.manifest.precisions["int8"].accepted is None


def test_a_second_precision_keeps_the_first_ones_record(bundle: Path, scenes: Scenes) -> None:
    first = calibrate(bundle, scenes, precision="int8", count=4)
    calibrate(bundle, scenes, precision="fp16", count=6)
    records = Bundle.open(bundle).manifest.calibration["precisions"]
    assert records["int8"]["frames_sha256"] == first.frames_sha256
    assert records["fp16"]["count"] == 6


def test_same_frames_same_bytes(bundle: Path, scenes: Scenes) -> None:
    calibrate(bundle, scenes, count=4)
    first = files(bundle)["model.int8.onnx"]
    calibrate(bundle, scenes, count=4)
    assert files(bundle)["model.int8.onnx"] == first


def test_what_was_measured_of_the_old_model_goes(bundle: Path, scenes: Scenes) -> None:
    calibrate(bundle, scenes, count=4)
    with Bundle.edit(bundle) as draft:
        draft.write("engines/openvino-int8.plan", b"old")
        draft.write("engines/openvino-fp32.plan", b"kept")
        latency = ({"precision": "int8", "p50_ms": 1.0}, {"precision": "fp32", "p50_ms": 2.0})
        draft.manifest = replace(draft.manifest, latency=latency)
    calibrate(bundle, scenes, count=4)
    left = Bundle.open(bundle).manifest
    assert "engines/openvino-int8.plan" not in left.files
    assert "engines/openvino-fp32.plan" in left.files
    assert left.latency == latency[1:]


def test_no_frames_is_an_error_and_nothing_changes(bundle: Path) -> None:
    before = files(bundle)
    with pytest.raises(FramesError, match="never random"):
        calibrate(bundle, Scenes(0))
    assert files(bundle) == before


def test_a_bundle_without_fp32_is_refused(tmp_path: Path, model: ModelProto, scenes: Scenes) -> None:
    path = tmp_path / "empty.bundle"
    manifest = make_manifest()
    manifest.precisions.clear()
    with Bundle.create(path, manifest):
        pass
    with pytest.raises(CalibrationError, match=r"empty\.bundle.*fp32.*trainer export"):
        calibrate(path, scenes)


def test_a_flipped_bit_is_found_before_anything_is_computed(bundle: Path, scenes: Scenes) -> None:
    file = bundle / "model.fp32.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BundleCorruptError, match=r"model\.fp32\.onnx"):
        calibrate(bundle, scenes)
    assert set(Bundle.open(bundle).manifest.precisions) == {"fp32"}


@pytest.mark.parametrize("fault", ["frame", "write"])
def test_interrupted_calibration_loses_nothing(
    bundle: Path, scenes: Scenes, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    calibrate(bundle, scenes, count=4)
    before = files(bundle)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    if fault == "write":
        # After the model is in the draft, before the manifest is.
        monkeypatch.setattr(module, "drop_engines", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(bundle, scenes, method="minmax", count=4, progress=interrupt if fault == "frame" else None)
    assert files(bundle) == before
    assert [item.name for item in bundle.parent.iterdir()] == [bundle.name]
    Bundle.open(bundle).verify()


@pytest.mark.parametrize(("precision", "method"), [("int4", "mse"), ("int8", "median")])
def test_unknown_precision_or_method_is_refused(
    bundle: Path, scenes: Scenes, precision: str, method: str
) -> None:
    with pytest.raises(CalibrationError, match="want one of"):
        calibrate(bundle, scenes, precision=precision, method=method)
