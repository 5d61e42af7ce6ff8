"""Engines in the GPU check: what they are held to; what the real TensorRT for RTX answers without a GPU."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from safetrip_sdk import Bundle, Runtime
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines import EngineInfo, key_for
from safetrip_sdk.engines.tensorrt_library import Library
from tests.benchmarks.gpu_bench import gpu_engines, gpu_reference, gpu_report, run_program
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.fake_gpu import FakeCuda, FakeRtx, install


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


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> FakeRtx:
    """A TensorRT for RTX that runs, on a GPU (8.7) that it does not list; its builder makes what it loads."""
    fake = install(monkeypatch, FakeCuda()).rtx
    fake.ComputeCapability = enum.Enum("ComputeCapability", "SM89 CURRENT")

    def build(path: Path, target: str, size: Any, precisions: list[str], *, compute_capabilities: Any) -> Any:
        if fake.refuse == "validity" and compute_capabilities:
            fake.refuse = None
        key = key_for(Library("tensorrt_rtx"), Cuda(), size, precisions[0])
        model = Bundle.open(path).manifest.files[f"model.{precisions[0]}.onnx"].sha256
        info = EngineInfo(key, Cuda().driver, model, 1.0, "2026-01-01T00:00:00Z")
        with Bundle.edit(path) as draft:
            draft.write(info.file, b"fake plan")
            draft.write(f"engines/{key}.json", json.dumps(asdict(info)).encode())
        return [info]

    monkeypatch.setattr(gpu_engines.engines, "build", build)
    return fake


def checked(bundle: Path, reference: Path, precision: str = "fp32") -> dict[str, Any]:
    job = gpu_engines.EngineJob("tensorrt_rtx", precision, str(bundle), str(reference), FRAME_SIZE)
    answer = gpu_report.Answer()
    gpu_engines.check_engine(job, answer)
    answer.end()
    return answer.figures


def test_an_engine_for_this_gpu_alone_is_tried_where_the_portable_one_is_refused(
    tmp_path: Path, tiny_bundle: Path, rtx: FakeRtx
) -> None:
    rtx.refuse = "validity"
    found = checked(tiny_bundle, tmp_path / "none.npz")
    assert found["status"] == "unchecked"
    (refused,) = found["refused"]
    assert refused.startswith("portable: EngineMismatchError: ")
    assert set(found["p50_ms"]) == {"block", "spin"}
    assert len(found["open_s"]) == 2
    assert found["cache_bytes"] == [len(b"compiled")] * 2
    assert found["graph"] is True
    assert not list(tiny_bundle.glob("engines/*"))  # built in a copy


@pytest.mark.parametrize("refuse", ["runtime", "deserialize", "context", "shape", "address", "enqueue"])
def test_whatever_rtx_refuses_there_is_its_answer(
    tmp_path: Path, tiny_bundle: Path, rtx: FakeRtx, refuse: str
) -> None:
    rtx.refuse = refuse
    found = checked(tiny_bundle, tmp_path / "none.npz")
    assert found["status"] == "skipped"
    assert len(found["refused"]) == 2
    assert f"fake reason for {refuse}" in found["refused"][1]


def test_an_engine_that_runs_there_and_is_wrong_fails(
    tmp_path: Path, tiny_bundle: Path, rtx: FakeRtx
) -> None:
    file = tmp_path / "reference.npz"
    gpu_reference.check_reference(str(tiny_bundle), str(file), FRAME_SIZE, gpu_report.Answer())
    found = checked(tiny_bundle, file)  # it gives the corner's value for every label
    assert found["status"] == "FAILED"
    assert "labels_equal 0.0, want 0.995" in found["error"]
    assert found["p50_ms"]["block"] > 0
