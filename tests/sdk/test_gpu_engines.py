"""Engines in the GPU check: what they are held to; what the real TensorRT for RTX answers without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetrip_sdk import Runtime
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.gpu_bench import gpu_engines, gpu_reference, gpu_report, run_program


def judged(bundle: Path, reference: Path, precision: str) -> dict[str, object]:
    """FP32's predictions by ONNX Runtime, as if an engine of `precision` had made them."""
    job = gpu_engines.EngineJob("tensorrt", precision, str(bundle), str(reference), FRAME_SIZE)
    answer = gpu_report.Answer()
    answer.add(p50_ms={"block": 1.0, "spin": 1.0})
    with Runtime(bundle, backend="onnxruntime", precision="fp32", frame_size=FRAME_SIZE) as runtime:
        predictions = [runtime(frame) for frame in gpu_reference.pictures(FRAME_SIZE)]
    gpu_engines.hold_to_reference(job, predictions[::-1] if precision == "fp16" else predictions, answer)
    answer.end()
    return answer.figures


def test_without_a_reference_an_engine_is_unchecked_and_keeps_its_times(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    figures = judged(tiny_bundle, tmp_path / "none.npz", "fp32")
    assert figures["status"] == "unchecked"
    assert figures["p50_ms"] == {"block": 1.0, "spin": 1.0}


def test_an_engine_is_held_to_the_reference(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "reference.npz"
    gpu_reference.check_reference(str(tiny_bundle), str(file), FRAME_SIZE, gpu_report.Answer())
    assert judged(tiny_bundle, file, "fp32")["status"] == "ok"
    wrong = judged(tiny_bundle, file, "fp16")
    assert wrong["status"] == "FAILED"
    assert "labels_equal 0." in str(wrong["error"])


def test_what_rtx_refuses_on_a_gpu_that_it_does_not_list_is_its_answer(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    wanted = ("--bundle", str(tiny_bundle), "--only", "tensorrt_rtx fp32")
    status, report, _ = run_program(tmp_path / "gpu.json", *wanted)
    found = report["checks"]["tensorrt_rtx fp32"]
    assert (status, found["status"]) == (0, "skipped")
    assert "does not list SM90, and refuses both engines" in found["answer"]
    portable, own = found["refused"]
    assert portable.startswith("portable: EngineMismatchError: ")
    assert own.startswith("for this GPU alone: EngineBuildError: ")
    assert found["build_s"] >= 0  # the portable engine was built


def test_what_rtx_refuses_on_a_gpu_that_it_lists_is_a_failure(tmp_path: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    wanted = ("--bundle", str(tiny_bundle), "--only", "tensorrt_rtx fp32")
    status, report, _ = run_program(tmp_path / "gpu.json", *wanted, FAKE_GPU_CAPABILITY="8.9")
    found = report["checks"]["tensorrt_rtx fp32"]
    assert (status, found["status"]) == (1, "FAILED")
    assert "the engine does not fit this device" in found["error"]
    assert "refused" not in found
