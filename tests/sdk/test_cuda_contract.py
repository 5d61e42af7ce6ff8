"""The fakes against the real packages, and what their real answers once broke."""

from __future__ import annotations

import gc
import inspect
import logging
import re
import shutil
import types
import weakref
from pathlib import Path
from typing import Any

import pytest

from safetrip_sdk import Bundle, Runtime, engines
from safetrip_sdk.backends.cuda_slot import CudaSlot
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines.builder import BuiltEngine
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import (
    BackendUnavailableError,
    CudaError,
    DeviceLostError,
    EngineError,
    ResultTimeoutError,
)
from tests.sdk import fake_gpu
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.fake_gpu import GIVES_ONE, Code, FakeCuda, install
from tests.sdk.test_cuda import assert_right, bundle, picture  # noqa: F401  (a fixture)

FUNCTIONS = [name for name, value in vars(FakeCuda).items() if name.startswith("cuda") and callable(value)]


@pytest.fixture(scope="module")
def bindings() -> Any:
    return pytest.importorskip("cuda.bindings.runtime")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_fake_takes_and_gives_what_cuda_python_does(bindings: Any, name: str) -> None:
    """The first line of its docstring is the signature; "Returns" lists the code and each result."""
    text = inspect.getdoc(getattr(bindings, name)) or ""
    parameters = re.match(r"\w+\((.*)\)", text.splitlines()[0])
    assert parameters is not None, text
    taken = len([part for part in parameters[1].split(",") if part.strip()])
    returns = text.split("Returns\n-------\n")[1].split("\n\n")[0]
    given = sum(1 for line in returns.splitlines() if not line.startswith(" ")) - 1
    assert len(inspect.signature(vars(FakeCuda)[name]).parameters) - 1 == taken
    assert (1 if name in GIVES_ONE else 0) == given


def test_the_fake_has_the_constants_of_cuda_python(bindings: Any) -> None:
    for name, value in vars(FakeCuda).items():
        if name.startswith("cuda") and isinstance(value, int):
            assert int(getattr(bindings, name)) == value, name
        elif isinstance(value, types.SimpleNamespace):
            real = getattr(bindings, name)
            for member, number in vars(value).items():
                assert isinstance(number, str) or int(getattr(real, member)) == number, member
                assert hasattr(real, member), member
    for code in Code:
        assert int(getattr(bindings.cudaError_t, code.name)) == code


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        (fake_gpu.Engine, "ICudaEngine"),
        (fake_gpu.Context, "IExecutionContext"),
        (fake_gpu.Inspector, "EngineInspector"),
    ],
)
def test_the_fake_engine_has_no_method_that_rtx_lacks(fake: type, real: str) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    names = [name for name in vars(fake) if not name.startswith("_")]
    assert names
    assert [name for name in names if not hasattr(getattr(rtx, real), name)] == []


def test_a_driver_older_than_cuda_python_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.fail_name, cuda.code = "cudaGetDeviceCount", 35
    with pytest.raises(BackendUnavailableError, match=r"cuda-python>=12\.9\.1,<13"):
        Cuda()


def test_without_a_gpu_the_real_bindings_end_in_one_clear_error(bindings: Any) -> None:
    code, _ = bindings.cudaGetDeviceCount()
    if int(code) == 0:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailableError, match=r"no usable GPU \(cudaError\w+ \(\d+\): "):
        Cuda()


def test_a_reset_may_answer_with_the_error_it_clears(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.broken = 700
    reset = FakeCuda.cudaDeviceReset

    def answers(self: FakeCuda) -> Any:
        reset(self)
        return Code.cudaErrorIllegalAddress

    monkeypatch.setattr(FakeCuda, "cudaDeviceReset", answers)
    assert Cuda().name == "Fake GPU"
    assert cuda.calls.count("cudaDeviceReset") == 1


def test_a_gpu_that_no_reset_mends_asks_for_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.fail_name, cuda.code, cuda.sticky = "cudaFree", 719, True
    with pytest.raises(DeviceLostError, match="start the process anew"):
        Cuda()


def test_an_ordinary_error_at_the_start_resets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset would take what others in the process have on the GPU along."""
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.fail_name = "cudaFree"
    with pytest.raises(CudaError, match="cudaFree failed"):
        Cuda()
    assert "cudaDeviceReset" not in cuda.calls


def test_an_engine_for_the_current_gpu_is_found_before_a_portable_one(
    bundle: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RTX's CURRENT is no capability that a key could be compared with: the key says which it was."""
    install(monkeypatch, FakeCuda())
    builds: list[tuple[str, ...]] = []

    def build_engine(*_: object, compute_capabilities: tuple[str, ...], **__: object) -> BuiltEngine:
        builds.append(compute_capabilities)
        return BuiltEngine("+".join(compute_capabilities).encode() or b"portable")

    monkeypatch.setattr("safetrip_sdk.engines.builder.build_engine", build_engine)
    path = tmp_path / "rtx.bundle"
    shutil.copytree(bundle, path)
    (portable,) = engines.build(path, "rtx", FRAME_SIZE, ["fp32"])
    (own,) = engines.build(path, "rtx", FRAME_SIZE, ["fp32"], compute_capabilities=("CURRENT",))
    assert builds == [(), ("CURRENT",)]
    assert (portable.key.compute_capability, own.key.compute_capability) == (engines.ANY, "SM87")
    key = engines.key_for(Library("tensorrt_rtx"), Cuda(), FRAME_SIZE, "fp32")
    assert engines.find(Bundle.open(path), key, "12060").plan == b"CURRENT"


def test_a_library_that_cannot_start_says_why(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeCuda()).refuse = "runtime"
    with pytest.raises(EngineError, match=r"cannot start \(pybind11.*\n  fake reason for runtime"):
        Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE)


def test_mapped_memory_that_cudamemcpy_refuses_is_read_in_place(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(integrated=True)
    install(monkeypatch, cuda)
    cuda.fail_name = "cudaMemcpyAsync"
    with Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        assert_right(runtime(picture(9)), 9)
    assert cuda.live == {}


def test_a_slot_that_hangs_is_not_collected_and_a_closed_one_is(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT's destructors would free memory that the GPU still writes."""
    # pytest keeps log records, they the exception, and that the slot.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    for hangs in (False, True):
        cuda = FakeCuda()
        install(monkeypatch, cuda)
        options = {"wait": "poll", "hang_after": 0.1}
        runtime = Runtime(bundle, backend="tensorrt", frame_size=FRAME_SIZE, slots=1, **options)
        pipeline: Any = runtime._pipeline
        slot: weakref.ref[CudaSlot] = weakref.ref(pipeline.pool.slots[0])
        if hangs:
            cuda.hang = "compute"
            with pytest.raises(ResultTimeoutError, match="hangs in stage compute"):
                runtime(picture(1))
        runtime.close()
        del runtime, pipeline
        gc.collect()
        assert (slot() is not None) == hangs
        cuda.hang = None
        held = slot()
        if held is not None:
            held.close()
