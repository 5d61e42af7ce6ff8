"""Steady state: a frame allocates its prediction and next to nothing else, and nothing grows."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Runtime
from tests.sdk.conftest import FRAME_SIZE, NET_SIZE
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.scripted import ScriptedBackend, numbered, scripted
from tests.sdk.test_cuda import bundle as gpu_bundle  # noqa: F401 (a fixture)

Frame = NDArray[np.uint8]
LIMIT = 2048
OUTPUTS = NET_SIZE[0] * NET_SIZE[1] * (1 + 4 + 1)


def heap_of_one_frame(step: Callable[[], object]) -> int:
    """The highest that Python's heap (numpy's arrays included) rises during one frame, in bytes."""
    for _ in range(30):
        step()
    peaks = []
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            step()
        for _ in range(20):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return sorted(peaks)[len(peaks) // 2]


def growth(step: Callable[[], object], frames: int) -> int:
    """Bytes of Python's heap that are still there after `frames` frames."""
    for _ in range(100):
        step()
    gc.collect()
    tracemalloc.start()
    try:
        before = max(heaps(step))
        for _ in range(frames):
            step()
        return min(heaps(step)) - before
    finally:
        tracemalloc.stop()


def heaps(step: Callable[[], object]) -> list[int]:
    """Bytes of Python's heap, ten times, some frames apart: on a busy machine OpenVINO's threads hold up to
    7 KB for some frames and then not, which is not what grows.
    """
    found = []
    for _ in range(10):
        for _ in range(20):
            step()
        gc.collect()
        found.append(tracemalloc.get_traced_memory()[0])
    return found


def test_a_call_allocates_its_prediction_only(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        assert heap_of_one_frame(lambda: runtime(frame)) - OUTPUTS < LIMIT


def test_a_ticket_allocates_little(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        assert heap_of_one_frame(lambda: runtime.submit(frame).result()) - OUTPUTS < LIMIT


def test_a_stream_allocates_little(tiny_bundle: Path, backend: str) -> None:
    height, width = FRAME_SIZE
    source = f"synthetic://{width}x{height}?fps=0"
    with Runtime(tiny_bundle, backend=backend, precision="fp32", slots=1) as runtime:
        stream = runtime.stream(source, "block")
        # Frames ahead of the consumer's are there, too: the results that wait, at most two a slot.
        assert heap_of_one_frame(lambda: next(stream)) < 3 * (OUTPUTS + LIMIT)
        stream.close()  # type: ignore[attr-defined]


def test_cuda_slots_allocate_their_prediction_only(
    gpu_bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    frame: Frame,
) -> None:
    """Python's side of the GPU backend (the fake's own share, a few small objects a call, counts as well)."""
    install(monkeypatch, FakeCuda())
    with Runtime(gpu_bundle, backend="tensorrt", frame_size=FRAME_SIZE) as runtime:
        runtime.stats()
        assert heap_of_one_frame(lambda: runtime(frame)) - NET_SIZE[0] * NET_SIZE[1] * 5 < 2 * LIMIT


def test_nothing_grows_over_many_frames(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        assert growth(lambda: runtime(frame), 2000) < LIMIT
        assert growth(lambda: runtime.submit(frame).result(), 1000) < LIMIT


def test_nothing_grows_over_100000_frames() -> None:
    """The runtime's own bookkeeping, over a backend that takes no time; counted in live objects."""
    frame = numbered(1)
    with scripted(ScriptedBackend()) as runtime:
        for _ in range(1000):
            runtime(frame)
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(100_000):
            runtime(frame)
        gc.collect()
        assert sys.getallocatedblocks() - before < 100
        assert runtime.stats().frames > 100_000


def test_a_prediction_that_is_delivered_is_held_by_nobody_else() -> None:
    """When `result` returns, the delivery thread has let go of it: dropping it frees it at once."""
    with scripted(ScriptedBackend(0.001)) as runtime:
        for _ in range(300):
            prediction = runtime.submit(numbered(1)).result()
            # This function's name, and the argument of getrefcount.
            assert sys.getrefcount(prediction) == 2


REAL_FRAMES = 10_000


def test_nothing_grows_over_many_frames_of_a_real_backend(
    tiny_bundle: Path, backend: str, frame: Frame
) -> None:
    """Native memory, too: the resident set settles, and no object stays."""

    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        for _ in range(1000):
            runtime(frame)
        gc.collect()
        blocks, before = sys.getallocatedblocks(), resident_pages()
        for _ in range(REAL_FRAMES):
            runtime(frame)
        gc.collect()
        assert sys.getallocatedblocks() - blocks < 100
        assert (resident_pages() - before) * 4096 < 2_000_000
