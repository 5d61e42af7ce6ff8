"""Several runtimes of one process on one GPU, a reset by one of them, and what is left behind for good."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safetrip_sdk import Prediction, Runtime
from safetrip_sdk.backends import probe
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError, DeviceLostError
from tests.sdk import fake_gpu
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.test_cuda import assert_right, bundle, picture  # noqa: F401  (a fixture)

DOORS: dict[str, Callable[[Runtime], Prediction]] = {
    "call": lambda runtime: runtime(picture(4)),
    "submit": lambda runtime: runtime.submit(picture(4)).result(5),
    "stream": lambda runtime: next(runtime.stream([picture(4)])),
}


def runtimes(path: Path, count: int) -> list[Runtime]:
    return [Runtime(path, backend="tensorrt", frame_size=FRAME_SIZE) for _ in range(count)]


@pytest.mark.parametrize("door", ["call", "submit", "stream", "close"])
@pytest.mark.parametrize("by", ["reopen", "probe"])
def test_the_others_are_told_and_touch_nothing(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    door: str,
    by: str,
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    first, second = runtimes(bundle, 2)
    assert_right(second(picture(1)), 1)
    cuda.broken = 700
    with pytest.raises(CudaError):
        first(picture(2))
    if by == "reopen":
        first.reopen()
        assert_right(first(picture(3)), 3)
    else:
        assert probe("tensorrt").available
    before = len(cuda.calls)
    if door != "close":
        with pytest.raises(DeviceLostError, match=r"reset elsewhere in this process.*reopen") as caught:
            DOORS[door](second)
        assert not caught.value.recoverable
        assert not second.usable
        second.reopen()
        assert_right(second(picture(5)), 5)
    second.close()
    if door == "close":
        assert cuda.calls[before:] == [], "nothing there is its own any more"
    if by == "reopen":
        assert_right(first(picture(6)), 6)
    first.close()
    assert cuda.faults == []
    assert cuda.live == {}


def test_what_tensorrt_made_before_a_reset_is_never_destroyed(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its destructors would free addresses that are the other runtime's by then."""
    made: list[weakref.ref[Any]] = []
    real = fake_gpu.Context.__init__

    def init(self: fake_gpu.Context, *arguments: Any) -> None:
        real(self, *arguments)
        made.append(weakref.ref(self))

    monkeypatch.setattr(fake_gpu.Context, "__init__", init)
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    first, second = runtimes(bundle, 2)
    kept = made[2:]
    cuda.broken = 700
    with pytest.raises(CudaError):
        first(picture(2))
    first.reopen()
    second.close()
    first.close()
    del first, second
    gc.collect()
    assert [context() is None for context in kept] == [False, False]


def test_a_reset_by_another_library(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA says that the context is destroyed: only reopen() helps, and nothing is left to be freed."""
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    (runtime,) = runtimes(bundle, 1)
    cuda.fail_name, cuda.code = "cudaEventSynchronize", 709
    with pytest.raises(CudaError) as caught:
        runtime(picture(1))
    assert not caught.value.recoverable
    assert not runtime.usable
    cuda.fail_name = None
    cuda.live.clear()
    runtime.reopen()
    assert_right(runtime(picture(2)), 2)
    runtime.close()
    assert cuda.faults == []
    assert "cudaDeviceReset" not in cuda.calls


def test_a_gpu_that_another_process_holds_is_not_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    cuda.fail_name, cuda.code = "cudaSetDevice", 46
    with pytest.raises(DeviceLostError, match="cudaSetDevice failed") as caught:
        Cuda()
    assert "start the process anew" not in str(caught.value)
    assert "cudaDeviceReset" not in cuda.calls


def test_each_launch_is_on_its_own_device(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever device others, torch for one, have made current in the thread meanwhile."""
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    monkeypatch.setattr(FakeCuda, "cudaGetDeviceCount", lambda self: 2)
    current = [0]
    monkeypatch.setattr(FakeCuda, "cudaSetDevice", lambda self, device: current.__setitem__(0, device))
    (runtime,) = runtimes(bundle, 1)
    Cuda(1)
    assert current == [1]
    runtime(picture(1))
    assert current == [0]
    runtime.close()


def test_a_slot_is_closed_once(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    (runtime,) = runtimes(bundle, 1)
    pipeline: Any = runtime._pipeline
    runtime.close()
    before = len(cuda.calls)
    pipeline.pool.slots[0].close()
    assert cuda.calls[before:] == []


HANGS_AT_EXIT = """
import os, sys, threading
import numpy as np
import pytest
from safetrip_sdk import Runtime
from safetrip_sdk.errors import ResultTimeoutError
from tests.sdk import fake_gpu
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.scripted import eventually

def destroyed(self, write=os.write):
    write(1, b"destroyed while its kernel runs")

cuda = fake_gpu.FakeCuda()
fake_gpu.install(pytest.MonkeyPatch(), cuda)
fake_gpu.Context.__del__ = fake_gpu.Engine.__del__ = destroyed
runtime = Runtime(sys.argv[1], backend="tensorrt", frame_size=FRAME_SIZE, wait=sys.argv[2], hang_after=0.2)
cuda.hang = "compute"
try:
    runtime(np.zeros((*FRAME_SIZE, 3), np.uint8))
except ResultTimeoutError as error:
    assert "hangs in stage compute" in str(error)
runtime.close()
# A thread that waits for the frame would hold what the others have let go of.
eventually(lambda: not [item for item in threading.enumerate() if item.name.startswith("safetrip")])
sys.exit(3)
"""


@pytest.mark.parametrize("wait", ["poll", "spin"])
def test_a_hung_frame_outlives_the_interpreter(bundle: Path, wait: str) -> None:  # noqa: F811
    """TensorRT's destructors would wait for the device that hangs, and so would the process's exit."""
    run = [sys.executable, "-c", HANGS_AT_EXIT, str(bundle), wait]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
