"""What the runtime does on this machine's GPU, over a kernel of our own: one function a check.

Each is run by gpu_check.py in a process of its own, and returns its figures or raises.
"""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_kernel import KernelProgram, expected
from safetrip_sdk import Runtime
from safetrip_sdk.backends.base import BackendOptions
from safetrip_sdk.backends.cuda_slot import CudaBackend
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError, ResultTimeoutError

__all__ = ["CHECKS", "FRAME_SIZE"]

FRAME_SIZE = (1080, 1920)
NET_SIZE = (512, 512)
CLASSES = ("blue", "green", "red")

Figures = dict[str, Any]


def frames(count: int = 4) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*FRAME_SIZE, 3), dtype=np.uint8) for _ in range(count)]


def kernel_runtime(
    wait: str = "block",
    slots: int = 2,
    graphs: bool = True,
    mapped: bool | None = None,
    hang_after: float = 10.0,
    **kernel: Any,
) -> Runtime:
    """A runtime over the kernel; `mapped` treats this GPU as an integrated one, or as a discrete one."""

    def opener(frame_size: tuple[int, int]) -> CudaBackend:
        cuda = Cuda()
        if mapped is not None:
            cuda.integrated = mapped
        program = KernelProgram(cuda.compute_capability, frame_size, NET_SIZE, **kernel)
        return CudaBackend(cuda, program, BackendOptions(frame_size, wait=wait), graphs)

    return Runtime.over(opener, CLASSES, frame_size=FRAME_SIZE, slots=slots, wait=wait, hang_after=hang_after)


def assert_equal(prediction: Any, frame: NDArray[np.uint8]) -> None:
    reference = expected(frame, NET_SIZE)
    np.testing.assert_array_equal(prediction.labels, reference.labels)
    np.testing.assert_array_equal(prediction.depth, reference.depth)
    np.testing.assert_array_equal(prediction.confidence, reference.confidence)


def every_door(runtime: Runtime) -> int:
    """Calls, tickets and a stream, each compared bit by bit; the number of frames."""
    pictures = frames()
    for picture in pictures:
        assert_equal(runtime(picture), picture)
    tickets = [(runtime.submit(picture), picture) for picture in pictures * 3]
    for ticket, picture in tickets:
        assert_equal(ticket.result(10), picture)
    for prediction, picture in zip(runtime.stream(iter(pictures * 5), "block"), pictures * 5):
        assert_equal(prediction, picture)
    return len(pictures) * 9


def check_correct() -> Figures:
    figures: Figures = {}
    for name, options in (
        ("graph", {}),
        ("spin", {"wait": "spin"}),
        ("three slots", {"slots": 3}),
        ("no graph", {"graphs": False}),
        ("mapped memory", {"mapped": True}),
    ):
        with kernel_runtime(**options) as runtime:
            figures[name] = every_door(runtime)
    return {"frames_equal": figures}


def check_graph() -> Figures:
    """The graph was captured; what it saves against enqueueing piece by piece."""
    medians = {}
    for graphs in (True, False):
        with kernel_runtime(graphs=graphs, wait="spin") as runtime:
            slot = runtime._pipeline.pool.slots[0]
            assert slot.captured == graphs
            medians[graphs] = median_us(lambda slot=slot: (slot.launch(), slot.wait(None)), 2000)
    return {"graph_us": medians[True], "pieces_us": medians[False]}


def median_us(call: Callable[[], Any], rounds: int) -> float:
    for _ in range(rounds // 10):
        call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


def check_overhead() -> Figures:
    """What `runtime(frame)` adds to load, launch, wait and read of one slot; and the launch alone."""
    picture = frames(1)[0]
    figures: Figures = {"limit_us": 30.0}
    for wait in ("spin", "block"):
        with kernel_runtime(wait=wait) as runtime:
            slot = runtime._pipeline.pool.slots[0]

            def bare(slot: Any = slot) -> None:
                slot.load(picture, True)
                slot.launch()
                slot.wait(None)
                slot.read()

            # In turns, so that a drifting clock speed touches both.
            ours, theirs = [], []
            for _ in range(10):
                theirs.append(median_us(bare, 200))
                ours.append(median_us(lambda runtime=runtime: runtime(picture), 200))
            figures[wait] = {
                "runtime_us": statistics.median(ours),
                "bare_us": statistics.median(theirs),
                "launch_and_wait_us": median_us(lambda slot=slot: (slot.launch(), slot.wait(None)), 1000),
                "overhead_us": statistics.median(ours) - statistics.median(theirs),
            }
    assert min(figures[wait]["overhead_us"] for wait in ("spin", "block")) <= 30.0, figures
    return figures


def check_allocation() -> Figures:
    """No device memory, and less than 2 KiB of Python heap beyond the prediction, over 2,000 frames."""
    picture = frames(1)[0]
    outputs = NET_SIZE[0] * NET_SIZE[1] * 6
    with kernel_runtime() as runtime:
        cuda = runtime._pipeline.backend.cuda
        for _ in range(200):
            runtime(picture)
        free_before = cuda.call("cudaMemGetInfo")[0]
        gc.collect()
        blocks_before = sys.getallocatedblocks()
        for _ in range(2000):
            runtime(picture)
        gc.collect()
        blocks = sys.getallocatedblocks() - blocks_before
        device = free_before - cuda.call("cudaMemGetInfo")[0]
        tracemalloc.start()
        runtime(picture)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        runtime(picture)
        heap = tracemalloc.get_traced_memory()[1] - before - outputs
        tracemalloc.stop()
    assert device <= 0, f"{device} bytes of device memory went"
    assert heap < 2048, f"{heap} bytes of heap a frame"
    assert blocks < 200, f"{blocks} objects stayed"
    return {"device_bytes": device, "heap_bytes_per_frame": heap, "objects_kept": blocks}


def check_events() -> Figures:
    """Stage times come from events, are above 0, and fit into the total."""
    with kernel_runtime(spin=2_000_000) as runtime:
        for picture in frames() * 5:
            timing = runtime(picture).timing
            assert timing.compute > 0.3, timing
            assert timing.upload > 0, timing
            assert timing.upload + timing.compute + timing.download <= timing.total + 0.1, timing
        return runtime.stats().to_dict()["stages"]


def check_mapped() -> Figures:
    """Mapped pinned memory: no copies on the stream; which way of reading the outputs was chosen.

    `mapped_us` against `copied_us` says whether an integrated GPU gains by it: its own reads of pinned memory
    may be uncached.
    """
    with kernel_runtime(mapped=True) as runtime:
        slot = runtime._pipeline.pool.slots[0]
        every_door(runtime)
        chosen = "cudaMemcpy" if slot._copy_reads else "in place"
        figures: Figures = {"chosen": chosen, "read_in_place_us": median_us(slot._read_direct, 50)}
        try:
            figures["read_copied_us"] = median_us(slot._read_copied, 50)
        except CudaError as error:
            figures["read_copied_us"] = str(error)
    picture = frames(1)[0]
    for name, mapped in (("mapped_us", True), ("copied_us", False)):
        with kernel_runtime(mapped=mapped) as runtime:
            figures[name] = median_us(lambda runtime=runtime: runtime(picture), 100)
    return figures


def check_overlap() -> Figures:
    """A stream over slots against calls in a loop, with a kernel of about a millisecond."""
    pictures = frames() * 25
    with kernel_runtime(spin=1_500_000) as runtime:
        started = time.perf_counter()
        for picture in pictures:
            runtime(picture)
        loop = time.perf_counter() - started
        started = time.perf_counter()
        for _ in runtime.stream(iter(pictures), "block"):
            pass
        stream = time.perf_counter() - started
    return {"loop_fps": len(pictures) / loop, "stream_fps": len(pictures) / stream}


def check_watchdog() -> Figures:
    """A kernel that does not end: time-outs name the stage, the watchdog ends the wait, reopen() works."""
    cuda = Cuda()
    hold = cuda.pinned(4, mapped=True)
    flag = hold.array.view(np.int32)
    flag[0] = 0
    runtime = kernel_runtime(hold=hold.device_pointer, hang_after=1.0)
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    flag[0] = 1
    seen = {}
    try:
        try:
            runtime(picture, timeout=0.05)
        except ResultTimeoutError as error:
            seen["timeout"] = error.stage
        try:
            runtime.submit(picture).result(10)
        except ResultTimeoutError as error:
            seen["watchdog"] = error.stage
        usable = runtime.usable
    finally:
        flag[0] = 0
    assert seen == {"timeout": "compute", "watchdog": "compute"}, seen
    assert not usable
    time.sleep(0.2)
    runtime.reopen()
    assert_equal(runtime(picture), picture)
    runtime.close()
    hold.close()
    return seen


def check_left_behind() -> Figures:
    """While one kernel hangs: does reopen() return, and does a runtime beside it work?"""
    cuda = Cuda()
    hold = cuda.pinned(4, mapped=True)
    flag = hold.array.view(np.int32)
    flag[0] = 0
    holds = [hold.device_pointer, 0]

    def opener(frame_size: tuple[int, int]) -> CudaBackend:
        own = Cuda()
        program = KernelProgram(own.compute_capability, frame_size, NET_SIZE, hold=holds.pop(0) or 0)
        return CudaBackend(own, program, BackendOptions(frame_size))

    runtime = Runtime.over(opener, CLASSES, frame_size=FRAME_SIZE, slots=1, hang_after=1.0)
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    flag[0] = 1
    try:
        try:
            runtime.submit(picture).result(10)
        except ResultTimeoutError as error:
            stage = error.stage
        started = time.perf_counter()
        reopening = threading.Thread(target=runtime.reopen, daemon=True)
        reopening.start()
        reopening.join(20)
        seconds = time.perf_counter() - started
        works = not reopening.is_alive() and runtime.usable
        if works:
            ticket = runtime.submit(picture)
            assert_equal(ticket.result(10), picture)
    finally:
        flag[0] = 0
    return {"stage": stage, "works_beside_a_hang": works, "reopen_s": seconds}


def check_sticky() -> Figures:
    """An illegal address, a sticky error, a device reset by reopen()."""
    runtime = kernel_runtime()
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    bad = KernelProgram(runtime.backend.cuda.compute_capability, FRAME_SIZE, NET_SIZE, crash=True)
    context = bad.make_context()
    slot = runtime._pipeline.pool.slots[0]
    for name, pointer in slot._device.items():
        context.bind(name, pointer)
    context.enqueue(int(slot._stream.value))
    caught = None
    for _ in range(3):
        try:
            runtime(picture)
        except CudaError as error:
            caught = error
            break
    assert caught is not None, "the illegal address went unnoticed"
    assert caught.sticky, caught
    assert not runtime.usable
    runtime.reopen()
    assert_equal(runtime(picture), picture)
    runtime.close()
    return {"said": str(caught)}


def check_gpu() -> Figures:
    cuda = Cuda()
    return {
        "name": cuda.name,
        "compute_capability": cuda.compute_capability,
        "driver": cuda.driver,
        "integrated": cuda.integrated,
    }


CHECKS: dict[str, Callable[[], Figures]] = {
    "gpu": check_gpu,
    "correct": check_correct,
    "graph": check_graph,
    "overhead": check_overhead,
    "allocation": check_allocation,
    "events": check_events,
    "mapped": check_mapped,
    "overlap": check_overlap,
    "watchdog": check_watchdog,
    "left_behind": check_left_behind,
    "sticky": check_sticky,
}
