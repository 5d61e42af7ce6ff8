"""What engines on the GPU are held to: made with ONNX Runtime, kept, and refused where it is another's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from safetrip_sdk import Runtime
from tests.benchmarks.gpu_bench import gpu_reference, gpu_report
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle


def made(bundle: Path, file: Path) -> dict[str, Any]:
    answer = gpu_report.Answer()
    gpu_reference.check_reference(str(bundle), str(file), FRAME_SIZE, answer)
    answer.end()
    return answer.figures


@pytest.fixture
def file(tiny_bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "reference.npz"
    assert made(tiny_bundle, path)["found"] is False
    return path


def test_a_right_engine_agrees(tiny_bundle: Path, file: Path) -> None:
    reference = gpu_reference.load_reference(str(tiny_bundle), str(file), FRAME_SIZE)
    with Runtime(tiny_bundle, backend="onnxruntime", precision="fp32", frame_size=FRAME_SIZE) as runtime:
        predictions = [runtime(frame) for frame in gpu_reference.pictures(FRAME_SIZE)]
    figures = gpu_reference.agreement(reference, predictions)
    assert figures == {"labels_equal": 1.0, "depth_error": 0.0}
    # One picture of four that is wrong everywhere is not averaged away.
    predictions[2] = predictions[1]
    wrong = gpu_reference.agreement(reference, predictions)
    assert wrong["labels_equal"] < 0.6
    assert len(gpu_reference.faults_of("fp16", wrong)) == 2


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("equal", [0.0, 0.9949, float("nan")])
def test_labels_that_differ_are_a_fault(precision: str, equal: float) -> None:
    (fault,) = gpu_reference.faults_of(precision, {"labels_equal": equal, "depth_error": 0.0})
    assert "want 0.995" in fault


@pytest.mark.parametrize("error", [0.011, float("nan"), float("inf")])
def test_depth_that_differs_is_a_fault(error: float) -> None:
    (fault,) = gpu_reference.faults_of("fp16", {"labels_equal": 0.995, "depth_error": error})
    assert "want at most 0.01" in fault


def test_int8_is_held_to_its_budget_and_not_here() -> None:
    assert gpu_reference.faults_of("int8", {"labels_equal": 0.9, "depth_error": 0.1}) == []


def test_depth_that_is_no_number_stays_none(tiny_bundle: Path, file: Path) -> None:
    labels, depth = gpu_reference.load_reference(str(tiny_bundle), str(file), FRAME_SIZE)

    overflowed = SimpleNamespace(labels=labels[0], depth=np.full_like(depth[0], np.nan))
    figures = gpu_reference.agreement((labels[:1], depth[:1]), [overflowed])
    assert np.isnan(figures["depth_error"])


def test_a_reference_that_is_there_is_taken(tiny_bundle: Path, file: Path) -> None:
    before = file.read_bytes()
    assert made(tiny_bundle, file)["found"] is True
    assert file.read_bytes() == before


def test_the_reference_of_another_model_is_refused(file: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other.bundle", {"fp32": deploy_graph(work=1)})
    with pytest.raises(gpu_report.CheckError, match=r"reference\.npz: the reference of another model"):
        made(other, file)


def test_pictures_of_another_size_are_others(tiny_bundle: Path, file: Path) -> None:
    with pytest.raises(gpu_report.CheckError, match="other pictures"):
        gpu_reference.load_reference(str(tiny_bundle), str(file), (64, 64))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04 a pickle"])
def test_a_file_that_is_no_reference_is_refused(tiny_bundle: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "reference.npz"
    file.write_bytes(content)
    with pytest.raises(gpu_report.CheckError, match="cannot be read as a reference"):
        made(tiny_bundle, file)


def test_without_onnx_runtime_it_is_said_how_to_get_one(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    figures = made(tiny_bundle, tmp_path / "reference.npz")
    assert figures["status"] == "skipped"
    assert "pip install onnxruntime, or make it on another machine with --reference FILE" in figures["answer"]


def test_a_bundle_without_fp32_has_none(tmp_path: Path) -> None:
    half = make_bundle(tmp_path / "half.bundle", {"fp16": deploy_graph(half=True)})
    assert made(half, tmp_path / "reference.npz")["status"] == "skipped"
