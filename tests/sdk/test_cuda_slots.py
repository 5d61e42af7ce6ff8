"""What a slot on the GPU is made of: warmed up, aligned, read by the cheaper way, freed when nothing runs."""

from __future__ import annotations

import timeit
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safetrip_sdk import Runtime, RuntimeOptions
from safetrip_sdk.backends import cuda_slot
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError, DeviceLostError
from tests.sdk import fake_gpu
from tests.sdk.async_gpu import AsyncCuda
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.test_cuda import assert_right, bundle, picture  # noqa: F401  (a fixture)
from tests.sdk.test_device_reset import DOORS


def open_runtime(path: Path, **options: Any) -> Runtime:
    return Runtime(path, backend="tensorrt", frame_size=FRAME_SIZE, **options)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("slots", [1, 3])
def test_each_slot_is_warmed_up_the_way_its_frames_will_go(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    slots: int,
    graphs: bool,
) -> None:
    """Once piece by piece, for what libraries allocate then; then the captured graph's own first launch."""
    enqueued: Counter[int] = Counter()
    real = fake_gpu.Context.execute_async_v3

    def execute(self: fake_gpu.Context, stream: int) -> bool:
        enqueued[id(self)] += 1
        return real(self, stream)

    monkeypatch.setattr(fake_gpu.Context, "execute_async_v3", execute)
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    if not graphs:
        cuda.fail_name = "cudaGraphInstantiate"
    runtime = open_runtime(bundle, slots=slots)
    launches = cuda.calls.count("cudaGraphLaunch")
    assert launches == (slots if graphs else 0)
    # With the capture, or its attempt, which puts nothing on the device.
    captures = slots if graphs else 1
    runs = sum(enqueued.values()) - captures + launches
    assert runs == 2 * slots
    assert len(enqueued) == slots
    runtime.close()


def test_a_real_backends_slots_are_warmed_up(tiny_bundle: Path, backend: str) -> None:
    with Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE, slots=3) as runtime:
        pipeline: Any = runtime._pipeline
        assert all(slot.times().compute > 0 for slot in pipeline.pool.slots)


def test_two_slots_unless_said_otherwise(tiny_bundle: Path, backend: str) -> None:
    assert RuntimeOptions().slots == 2
    with Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE) as runtime:
        pipeline: Any = runtime._pipeline
        assert len(pipeline.pool.slots) == 2


@pytest.mark.parametrize("offset", [8, 16, 32, 64, 128])
def test_memory_of_a_lesser_alignment_is_refused(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    real = cuda._allocate
    monkeypatch.setattr(cuda, "_allocate", lambda nbytes: real(nbytes + 256) + offset)
    opened = Cuda()
    for allocate in (lambda: opened.malloc(100), lambda: opened.pinned(100, mapped=True)):
        with pytest.raises(CudaError, match="not 256-byte aligned"):
            allocate()
    assert cuda.live == {}


def test_memory_of_the_cpu_slots_is_aligned(tiny_bundle: Path, backend: str) -> None:
    """Several runtimes, so that chance does not give it."""
    for _ in range(4):
        with Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE, slots=3) as runtime:
            pipeline: Any = runtime._pipeline
            for slot in pipeline.pool.slots:
                for array in (slot.frame, *slot._arrays.values()):
                    assert array.ctypes.data % 256 == 0


def test_memory_of_the_gpu_slots_is_bound_aligned(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for integrated in (False, True):
        cuda = FakeCuda(integrated)
        install(monkeypatch, cuda)
        with open_runtime(bundle) as runtime:
            pipeline: Any = runtime._pipeline
            for slot in pipeline.pool.slots:
                assert [pointer % 256 for pointer in slot._device.values()] == [0, 0, 0]
                assert slot.frame.ctypes.data % 256 == 0


@pytest.mark.parametrize("cheaper", ["in place", "cudaMemcpy"])
def test_of_two_ways_to_read_the_cheaper_is_taken(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    cheaper: str,
) -> None:
    """By the best of some measurements: any of them may have been interrupted."""
    cuda = FakeCuda(integrated=True)
    install(monkeypatch, cuda)
    real = timeit.repeat
    measured = []

    def repeat(read: Any, number: int, repeat: int) -> list[float]:
        taken = real(read, number=number, repeat=repeat)
        assert len(taken) > 1
        assert number == 1, "the first reads of memory cost the most"
        way = "in place" if "direct" in read.__name__ else "cudaMemcpy"
        measured.append(way)
        return [9.0, 1.0, 9.0] if way == cheaper else [2.0, 2.0, 2.0]

    monkeypatch.setattr(cuda_slot.timeit, "repeat", repeat)
    with open_runtime(bundle, slots=1) as runtime:
        assert sorted(measured) == ["cudaMemcpy", "in place"]
        before = cuda.calls.count("cudaMemcpyAsync")
        assert_right(runtime(picture(3)), 3)
        copies = cuda.calls.count("cudaMemcpyAsync") - before
    assert copies == (2 if cheaper == "cudaMemcpy" else 0), "labels and depth"


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("wait", ["block", "poll", "spin"])
def test_streams_that_run_later(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    integrated: bool,
    wait: str,
) -> None:
    cuda = AsyncCuda(integrated)
    install(monkeypatch, cuda)
    with open_runtime(bundle, slots=1, wait=wait) as runtime:
        for value in range(5):
            assert_right(runtime(picture(value)), value)
            assert_right(runtime.submit(picture(50 + value)).result(10), 50 + value)
        found = [int(item.labels[0, 0]) for item in runtime.stream([picture(n) for n in range(8)])]
        assert found == list(range(8))
        ticket = runtime.submit(picture(7))
    assert_right(ticket.result(10), 7)
    assert cuda.faults == []
    assert cuda.live == {}


def test_closing_waits_for_what_an_error_left_on_the_stream(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event behind a launched graph cannot be recorded: the slot is back, its stream is at work."""
    cuda = AsyncCuda(pause_s=0.02)
    install(monkeypatch, cuda)
    runtime = open_runtime(bundle, slots=1)
    real = AsyncCuda.cudaGraphLaunch

    def launch(self: AsyncCuda, graph: Any, stream: Any) -> None:
        real(self, graph, stream)
        self.fail_name = "cudaEventRecord"

    monkeypatch.setattr(AsyncCuda, "cudaGraphLaunch", launch)
    with pytest.raises(CudaError, match="cudaEventRecord failed"):
        runtime(picture(1))
    cuda.fail_name = None
    assert runtime.usable
    runtime.close()
    assert cuda.faults == []
    assert cuda.live == {}


@pytest.mark.parametrize("door", sorted(DOORS))
def test_memory_that_a_reset_took_along_is_not_written_to(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    door: str,
) -> None:
    """On a real GPU it is no longer mapped: the process would crash."""
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    first, second = open_runtime(bundle), open_runtime(bundle)
    pipeline: Any = second._pipeline
    frames = [slot.frame for slot in pipeline.pool.slots]
    cuda.broken = 700
    with pytest.raises(CudaError):
        first(picture(2))
    first.reopen()
    with pytest.raises(DeviceLostError, match="reset elsewhere"):
        DOORS[door](second)
    assert not any(np.any(frame) for frame in frames)
    second.close()
    first.close()
