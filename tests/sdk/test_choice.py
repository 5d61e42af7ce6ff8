"""What `auto` takes, and that the doctor says of a bundle what the runtime does with it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from safetrip_sdk import Bundle, Runtime
from safetrip_sdk.choice import auto_precisions
from safetrip_sdk.cli import main
from safetrip_sdk.engines import EngineInfo, EngineKey
from safetrip_sdk.errors import BackendUnavailableError
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle
from tests.sdk.fake_gpu import FakeCuda, install

KEY = EngineKey("tensorrt", "10.3.0", "Fake GPU 8 SM 16 GB", "8.7", *FRAME_SIZE, "int8")
FRAME = f"{FRAME_SIZE[0]}x{FRAME_SIZE[1]}"
WHY = "miou_drop 3.2 is above 1"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Every precision there is, none compared yet."""
    data = deploy_graph()
    return make_bundle(tmp_path / "b.bundle", dict.fromkeys(("fp32", "fp16", "int8", "mixed"), data))


def judge(path: Path, **verdicts: bool) -> None:
    """As `trainer compare` leaves it."""
    with Bundle.edit(path) as draft:
        there = dict(draft.manifest.precisions)
        for name, accepted in verdicts.items():
            row = {"violations": [] if accepted else [WHY]}
            metrics = {"compare": {"backends": {"openvino": row}}}
            there[name] = replace(there[name], accepted=accepted, metrics=metrics)
        draft.manifest = replace(draft.manifest, precisions=there)


def add_engine(path: Path, driver: str = "12060", **changes: Any) -> str:
    """An engine for the fake GPU, but for `changes` of its key; its file's name."""
    key = replace(KEY, **changes)
    model = Bundle.open(path).manifest.files[f"model.{key.precision}.onnx"].sha256
    info = EngineInfo(key, driver, model, 1.0, "2026-01-01T00:00:00Z")
    with Bundle.edit(path) as draft:
        draft.write(info.file, b"fake plan")
        draft.write(f"engines/{key}.json", json.dumps(asdict(info)).encode())
    return info.file


def doctor(path: Path, *words: str) -> dict[str, Any]:
    """Its report; what it says it would use is what the runtime then uses."""
    out = path.parent / "doctor.json"
    assert main(["doctor", str(path), "--json", str(out), *words]) == 0
    report = json.loads(out.read_text())
    with Runtime(path, frame_size=FRAME_SIZE) as runtime:
        assert runtime.backend is not None
        assert (report["auto"], report["bundle"]["precision"]) == (runtime.backend.name, runtime.precision)
    return report


def reason(report: dict[str, Any], backend: str, precision: str) -> str:
    (found,) = [
        item["reason"]
        for item in report["bundle"]["candidates"]
        if (item["backend"], item["precision"]) == (backend, precision)
    ]
    return str(found)


@pytest.mark.parametrize(
    ("verdicts", "order"),
    [
        ({}, ["int8", "fp16", "fp32"]),
        ({"mixed": True}, ["int8", "mixed", "fp16", "fp32"]),
        ({"mixed": True, "int8": False}, ["mixed", "fp16", "fp32"]),
        ({"mixed": False, "int8": False}, ["fp16", "fp32"]),
    ],
)
def test_auto_takes_a_mixture_that_was_accepted(
    verdicts: dict[str, bool], order: list[str], bundle: Path
) -> None:
    judge(bundle, **verdicts)
    assert auto_precisions(Bundle.open(bundle).manifest) == order
    with Runtime(bundle, backend="onnxruntime", frame_size=FRAME_SIZE) as runtime:
        assert runtime.precision == order[0]


def test_only_a_mixture_that_nobody_compared(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.bundle", {"mixed": deploy_graph()})
    with pytest.raises(
        BackendUnavailableError, match=r"no usable precision 'auto'.*mixed \(accepted: None\)"
    ):
        Runtime(path)
    with Runtime(path, precision="mixed", backend="onnxruntime", frame_size=FRAME_SIZE) as runtime:
        assert runtime.precision == "mixed"


def test_the_doctor_names_the_precision_and_each_reason(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(bundle, int8=False)
    report = doctor(bundle, "--frame", FRAME)
    assert report["bundle"]["precision"] == "fp16"
    assert WHY in reason(report, "openvino", "int8")
    assert "rejected" in reason(report, "openvino", "int8")
    assert "once `trainer compare` has accepted it" in reason(report, "openvino", "mixed")
    assert reason(report, "openvino", "fp16") == ""
    for backend, precision in (("openvino", "fp32"), ("onnxruntime", "fp16")):
        assert reason(report, backend, precision) == "openvino fp16 comes first"
    text = capsys.readouterr().out
    assert f"for frames of {FRAME}" in text
    assert "would use: openvino, precision fp16" in text
    assert WHY in text


def test_an_engine_that_fits_is_used(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCuda())
    add_engine(bundle)
    report = doctor(bundle)
    assert report["bundle"]["frame_size"] == list(FRAME_SIZE), "that of its engine"
    assert (report["auto"], report["bundle"]["precision"]) == ("tensorrt", "int8")
    assert "no fp16 engine" in reason(report, "tensorrt", "fp16")
    assert any("The GPU is used: tensorrt" in line for line in report["advice"])


def test_a_malformed_description_of_another_device_keeps_nobody_from_running(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, FakeCuda())
    add_engine(bundle)
    stray = "engines/tensorrt-10.3.0-orin-sm87-1080x1920-int8.json"
    with Bundle.edit(bundle) as draft:
        draft.write(stray, b'{"key": {}}')
    assert doctor(bundle)["auto"] == "tensorrt"
    assert stray in caplog.text
    with Runtime(bundle, frame_size=FRAME_SIZE, backend="tensorrt") as runtime:
        assert runtime.precision == "int8"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver": "12020"}, "driver: built for 12020, here 12060"),
        ({"gpu": "Orin 8 SM 8 GB"}, "GPU: built for Orin"),
        ({"compute_capability": "8.9"}, "compute capability: built for 8.9"),
        ({"version": "10.16.2"}, "tensorrt version: built for 10.16.2"),
        ({"height": 480, "width": 640}, "frame size: built for 640x480"),
    ],
)
def test_an_engine_that_the_runtime_passes_over_does_not_count(
    changes: dict[str, Any],
    said: str,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(monkeypatch, FakeCuda())
    add_engine(bundle, **changes)
    report = doctor(bundle, "--frame", FRAME)
    assert report["auto"] == "openvino"
    assert said in reason(report, "tensorrt", "int8")
    assert said in capsys.readouterr().out
    assert any("Build one, once" in line for line in report["advice"])


def test_an_engine_of_a_rejected_precision_does_not_count(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeCuda())
    add_engine(bundle)
    judge(bundle, int8=False)
    report = doctor(bundle)
    assert report["auto"] == "openvino"
    assert "rejected" in reason(report, "tensorrt", "int8")


def test_an_engine_that_the_library_refuses_does_not_count(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who loads it finds that out."""
    trt = install(monkeypatch, FakeCuda())
    add_engine(bundle)
    trt.refuse = "deserialize"
    report = doctor(bundle)
    assert report["auto"] == "openvino"
    assert "refuses the engine" in reason(report, "tensorrt", "int8")
