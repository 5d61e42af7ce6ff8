"""The GPU code over a CUDA that runs on the CPU: the sequence of calls, and each of them failing in turn."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Bundle, Runtime
from safetrip_sdk.backends import probe
from safetrip_sdk.cli import main
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines import ANY, EngineKey
from safetrip_sdk.errors import (
    BackendUnavailableError,
    CudaError,
    DeviceLostError,
    EngineError,
    EngineMismatchError,
    InferenceError,
    ResultTimeoutError,
    SafetripError,
)
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle
from tests.sdk.fake_gpu import FakeCuda, FakeTensorRt, install

Frame = NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an engine for the fake GPU."""
    path = make_bundle(tmp_path_factory.mktemp("cuda") / "gpu.bundle", {"fp32": deploy_graph()})
    key = EngineKey("tensorrt", "10.3.0", "Fake GPU 8 SM 16 GB", "8.7", *FRAME_SIZE, "fp32")
    model = Bundle.open(path).manifest.files["model.fp32.onnx"].sha256
    info = {
        "key": vars(key),
        "driver": "12060",
        "model_sha256": model,
        "seconds": 1.0,
        "created": "2026-01-01T00:00:00Z",
    }
    with Bundle.edit(path) as draft:
        draft.write(f"engines/{key}.plan", b"fake plan")
        draft.write(f"engines/{key}.json", json.dumps(info).encode())
    return path


def use(bundle: Path, frames: int = 3, **options: object) -> Runtime:
    """Open, call, submit, stream, close: every door once."""
    runtime = Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE, hang_after=5.0, **options)
    try:
        for value in range(frames):
            assert_right(runtime(picture(value)), value)
            assert_right(runtime.submit(picture(100 + value)).result(5), 100 + value)
        for value, prediction in enumerate(runtime.stream(picture(value) for value in range(frames))):
            assert_right(prediction, value)
    finally:
        runtime.close()
    return runtime


def picture(value: int) -> Frame:
    return np.full((*FRAME_SIZE, 3), value, np.uint8)


def assert_right(prediction: object, value: int) -> None:
    assert (prediction.labels == value).all()  # type: ignore[attr-defined]
    np.testing.assert_allclose(prediction.depth, value / 10, rtol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("wait", ["block", "spin"])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_every_door(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, integrated: bool, wait: str, slots: int
) -> None:
    cuda = FakeCuda(integrated)
    install(monkeypatch, cuda)
    use(bundle, wait=wait, slots=slots)
    assert cuda.faults == []
    assert cuda.live == {}
    counts = Counter(cuda.calls)
    assert counts["cudaGraphInstantiate"] == slots
    assert cuda.flags == {
        "cudaStreamCreateWithFlags": {1: slots},  # not synchronised with the default stream
        "cudaEventCreateWithFlags": {0: 3 * slots, 1: slots},  # the last one lets its waiter sleep
        "cudaEventRecordWithFlags": {1: 2 * slots},  # external: the graph records them anew
        "cudaHostAlloc": {3 if integrated else 1: 3 * slots},  # portable; mapped
        "cudaStreamBeginCapture": {1: slots},  # other threads may do what they like meanwhile
    }
    assert counts["cudaMalloc"] == (0 if integrated else 3 * slots), "mapped memory needs no device memory"
    if integrated:
        kinds = set(cuda.calls) & {"cudaMemcpyAsync"}
        assert not kinds or counts["cudaMemcpyAsync"] <= 2 * (3 * slots + 9), (
            "no copies but those of the read-back"
        )


def test_steady_state_allocates_nothing_and_is_one_launch(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        frame = picture(1)
        runtime(frame)
        before = len(cuda.calls)
        live = dict(cuda.live)
        for _ in range(50):
            runtime(frame)
        counts = Counter(cuda.calls[before:])
        assert dict(cuda.live) == live
    assert counts == {
        "cudaSetDevice": 50,
        "cudaEventRecord": 100,
        "cudaGraphLaunch": 50,
        "cudaEventSynchronize": 50,
        "cudaEventElapsedTime": 150,
    }


def test_capture_that_fails_is_said_once_and_done_without(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.fail_name = "cudaGraphInstantiate"
    with caplog.at_level(logging.WARNING):
        use(bundle, slots=3)
    assert sum("no CUDA graph" in record.message for record in caplog.records) == 1
    assert cuda.calls.count("cudaStreamBeginCapture") == 1
    assert "cudaGraphLaunch" not in cuda.calls
    assert cuda.live == {}
    assert cuda.faults == []


def count_calls(bundle: Path, integrated: bool) -> int:
    with pytest.MonkeyPatch.context() as patch:
        cuda = FakeCuda(integrated)
        install(patch, cuda)
        use(bundle, frames=1)
        return len(cuda.calls)


def outcome(bundle: Path) -> str:
    """The name of the error that using the runtime ends in, "none" without one; others are raised."""
    try:
        use(bundle, frames=1)
    except SafetripError as error:
        return type(error).__name__ if "fakeError" in str(error) else repr(error)
    return "none"


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("integrated", [False, True])
def test_each_call_fails_in_turn(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, integrated: bool, sticky: bool
) -> None:
    """Whatever call fails: a typed error or none at all, everything freed exactly once, close() works."""
    total = count_calls(bundle, integrated)
    assert total > 60
    outcomes: Counter[str] = Counter()
    for index in range(total):
        cuda = FakeCuda(integrated)
        install(monkeypatch, cuda)
        cuda.fail_at, cuda.sticky, cuda.code = index, sticky, 700 if sticky else 2
        outcomes[outcome(bundle)] += 1
        assert cuda.faults == [], f"call {index}, {cuda.calls[index]}"
        assert cuda.live == {}, f"call {index}, {cuda.calls[index]} leaks {cuda.live}"
    assert set(outcomes) <= {"none", "CudaError", "BackendUnavailableError"}, outcomes
    assert outcomes["CudaError"] > total // 3, outcomes


@pytest.mark.parametrize(
    ("call", "door"),
    [("cudaGraphLaunch", "call"), ("cudaEventSynchronize", "call"), ("cudaEventSynchronize", "submit")],
)
def test_ordinary_error_leaves_the_runtime_usable(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, call: str, door: str
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        cuda.fail_name = call
        with pytest.raises(CudaError, match=f"{call} failed: fakeError2") as caught:
            _ = runtime(picture(1)) if door == "call" else runtime.submit(picture(1)).result(5)
        assert caught.value.call == call
        assert caught.value.code == 2
        assert caught.value.recoverable
        cuda.fail_name = None
        assert runtime.usable
        assert_right(runtime(picture(3)), 3)
    assert cuda.live == {}


def test_sticky_error_and_reopen(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        cuda.fail_name, cuda.sticky, cuda.code = "cudaGraphLaunch", True, 719
        with pytest.raises(CudaError, match="reopen") as caught:
            runtime(picture(1))
        assert caught.value.sticky
        assert not runtime.usable
        cuda.fail_name = None
        with pytest.raises(CudaError):
            runtime(picture(1))
        runtime.reopen()
        assert "cudaDeviceReset" in cuda.calls
        assert_right(runtime(picture(4)), 4)
    assert cuda.live == {}
    assert cuda.faults == []


def test_device_lost(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    runtime = Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE)
    cuda.fail_name, cuda.sticky, cuda.code = "cudaEventSynchronize", True, 46
    with pytest.raises(DeviceLostError):
        runtime(picture(1))
    assert not runtime.usable
    runtime.close()


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("stage", ["upload", "compute", "download"])
def test_watchdog_knows_the_stage(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, stage: str, graphs: bool
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    if not graphs:
        cuda.fail_name = "cudaGraphInstantiate"
    runtime = Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE, hang_after=0.1)
    runtime(picture(0))
    cuda.hang = stage
    with pytest.raises(ResultTimeoutError, match=f"stage {stage}"):
        runtime(picture(1), timeout=0.02)
    ticket = runtime.submit(picture(2))
    with pytest.raises(ResultTimeoutError, match=f"hangs in stage {stage}") as caught:
        ticket.result(5)
    assert caught.value.stage == stage
    assert not runtime.usable
    runtime.close()
    assert cuda.live, "memory that the device may still use is not freed"
    cuda.hang = None
    cuda.gate.set()
    time.sleep(0.05)


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        ("deserialize", EngineMismatchError),
        ("context", EngineError),
        ("shape", EngineMismatchError),
        ("address", EngineError),
        ("enqueue", InferenceError),
    ],
)
def test_tensorrt_refuses(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, refused: str, kind: type[SafetripError]
) -> None:
    cuda = FakeCuda()
    trt = install(monkeypatch, cuda)
    trt.refuse = refused
    with pytest.raises(kind, match=f"fake reason for {refused}"):
        Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE)
    assert cuda.live == {}
    assert cuda.faults == []


def test_enqueue_false_without_a_graph(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    trt = install(monkeypatch, cuda)
    cuda.fail_name = "cudaGraphInstantiate"
    with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        trt.refuse = "enqueue"
        with pytest.raises(InferenceError, match=r"enqueue failed:\n  fake reason for enqueue"):
            runtime(picture(1))
        trt.refuse = None
        assert runtime.usable
        assert_right(runtime(picture(2)), 2)
    assert cuda.live == {}


def test_probe_and_doctor(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    found = probe("tensorrt")
    assert (found.available, found.version, found.device) == (True, "10.3.0", "Fake GPU")
    assert main(["doctor", str(bundle)]) == 0
    assert "backend='auto' would use: tensorrt" in capsys.readouterr().out


def test_auto_passes_over_a_gpu_without_an_engine_with_a_warning(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, FakeCuda())
    with caplog.at_level(logging.WARNING), Runtime(tiny_bundle, frame_size=FRAME_SIZE) as runtime:
        assert runtime.backend is not None
        assert runtime.backend.name == "openvino"
    assert any(
        "passing over tensorrt" in item.message and "safetrip build" in item.message
        for item in caplog.records
    )


def test_no_gpu_and_too_old_a_tensorrt(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    trt = install(monkeypatch, cuda)
    with pytest.raises(BackendUnavailableError, match="no GPU 3; there are 1"):
        Cuda(3)
    cuda.fail_name, cuda.code = "cudaGetDeviceCount", 35
    with pytest.raises(BackendUnavailableError, match=r"no usable GPU.*driver"):
        Runtime(bundle, backend="tensorrt")
    monkeypatch.setattr(FakeTensorRt, "__version__", "8.5.2")
    assert trt.__version__ == "8.5.2"
    with pytest.raises(BackendUnavailableError, match=r"8\.5\.2 is too old"):
        Runtime(bundle, backend="tensorrt")


@pytest.fixture
def rtx_bundle(bundle: Path, tmp_path: Path) -> Path:
    """The same engine, as if RTX had built it without a GPU."""
    path = tmp_path / "rtx.bundle"
    shutil.copytree(bundle, path)
    key = EngineKey("tensorrt_rtx", "1.7.1", ANY, ANY, *FRAME_SIZE, "fp32")
    with Bundle.edit(path) as draft:
        info = json.loads(draft.read(next(name for name in draft.manifest.files if name.endswith(".json"))))
        described = {**info, "key": vars(key), "driver": ""}
        draft.write(f"engines/{key}.plan", b"fake plan")
        draft.write(f"engines/{key}.json", json.dumps(described).encode())
    return path


def test_rtx_keeps_what_its_jit_compiled(rtx_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    rtx = install(monkeypatch, cuda).rtx
    for starts in range(3):
        with Runtime(rtx_bundle, backend="tensorrt_rtx", frame_size=FRAME_SIZE) as runtime:
            assert_right(runtime(picture(7)), 7)
        assert rtx.counts["warm starts"] == starts
        Bundle.open(rtx_bundle).verify()
    assert cuda.live == {}


def test_rtx_with_a_bundle_that_cannot_be_written(
    rtx_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch, FakeCuda())

    def denied(path: Path) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Bundle, "edit", denied)
    with Runtime(rtx_bundle, backend="tensorrt_rtx", frame_size=FRAME_SIZE) as runtime:
        assert_right(runtime(picture(7)), 7)
    assert "could not be kept: read-only" in caplog.text


def test_rtx_says_beforehand_why_a_plan_does_not_fit(
    rtx_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeCuda()).rtx.refuse = "validity"
    with pytest.raises(
        EngineMismatchError, match=r"unsupported cc; .* --compute-capability CURRENT`"
    ) as caught:
        Runtime(rtx_bundle, backend="tensorrt_rtx", frame_size=FRAME_SIZE)
    assert caught.value.differences == ("unsupported cc",)


def test_memory_that_is_not_aligned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    real = cuda._allocate
    monkeypatch.setattr(cuda, "_allocate", lambda nbytes: real(nbytes + 256) + 8)
    opened = Cuda()
    for allocate in (lambda: opened.malloc(100), lambda: opened.pinned(100, mapped=True)):
        with pytest.raises(CudaError, match="aligned"):
            allocate()
    assert cuda.live == {}


@pytest.mark.parametrize("wait", ["poll", "spin"])
def test_the_watchdog_ends_even_a_call_without_timeout(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    runtime = Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE, hang_after=0.1, wait=wait)
    runtime(picture(0))
    cuda.hang = "compute"
    with pytest.raises(ResultTimeoutError, match="hangs in stage compute"):
        runtime(picture(1))
    assert not runtime.usable
    with pytest.raises(ResultTimeoutError, match="hangs in stage compute"):
        runtime(picture(1))
    runtime.close()
    assert cuda.live, "memory that the device may still use is not freed"


def test_block_mode_leaves_waiting_to_the_driver_and_poll_mode_asks(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a frame costs in calls: nothing more in block mode; in poll mode queries instead of one wait."""
    for wait, waits in (("block", 1), ("poll", 0)):
        cuda = FakeCuda()
        install(monkeypatch, cuda)
        with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE, wait=wait) as runtime:
            runtime(picture(0))
            before = len(cuda.calls)
            runtime(picture(1))
            calls = cuda.calls[before:]
        assert calls.count("cudaEventSynchronize") == waits
        assert ("cudaEventQuery" in calls) == (wait == "poll")
