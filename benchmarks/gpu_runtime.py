"""What the runtime does on this GPU while all is well, over a kernel of our own: one function a check.

Each is run by gpu_check.py in a process of its own, adds its figures to its answer, and raises what is wrong.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from gpu_kernel import NET_SIZE, assert_equal, frames, kernel_runtime
from gpu_report import Answer, require
from safetrip_sdk import Runtime
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError

__all__ = ["HEALTHY"]


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


def check_gpu(answer: Answer) -> None:
    """Which GPU there is."""
    cuda = Cuda()
    answer.add(
        name=cuda.name,
        compute_capability=cuda.compute_capability,
        driver=cuda.driver,
        integrated=cuda.integrated,
    )


def check_correct(answer: Answer) -> None:
    """Every kind of runtime gives the kernel's answer, bit by bit."""
    equal: dict[str, int] = {}
    kinds: dict[str, dict[str, Any]] = {
        "graph": {},
        "spin": {"wait": "spin"},
        "poll": {"wait": "poll"},
        "three slots": {"slots": 3},
        "no graph": {"graphs": False},
        "mapped memory": {"mapped": True},
    }
    for name, options in kinds.items():
        with kernel_runtime(**options) as runtime:
            equal[name] = every_door(runtime)
        answer.add(frames_equal=equal)


def median_us(call: Callable[[], Any], rounds: int) -> float:
    """Median microseconds of a call, warmed up."""
    for _ in range(rounds // 10):
        call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


def check_graph(answer: Answer) -> None:
    """The graph was captured; what it saves against enqueueing piece by piece."""
    for graphs, name in ((True, "graph_us"), (False, "pieces_us")):
        with kernel_runtime(graphs=graphs, wait="spin") as runtime:
            slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]
            require(slot.captured == graphs, f"captured: {slot.captured}, wanted: {graphs}")
            answer.add(**{name: median_us(lambda slot=slot: (slot.launch(), slot.wait(None)), 2000)})


def check_allocation(answer: Answer) -> None:
    """No device memory, and less than 2 KiB of Python heap beyond the prediction, over 2,000 frames."""
    picture = frames(1)[0]
    outputs = NET_SIZE[0] * NET_SIZE[1] * 6
    with kernel_runtime() as runtime:
        cuda = runtime._pipeline.backend.cuda  # type: ignore[union-attr]
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
    answer.add(device_bytes=device, heap_bytes_per_frame=heap, objects_kept=blocks)
    require(device <= 0, f"{device} bytes of device memory went")
    require(heap < 2048, f"{heap} bytes of heap a frame")
    require(blocks < 200, f"{blocks} objects stayed")


def check_events(answer: Answer) -> None:
    """Stage times come from events, are above 0, and fit into the total."""
    with kernel_runtime(spin=2_000_000) as runtime:
        for picture in frames() * 5:
            timing = runtime(picture).timing
            require(timing.compute > 0.3, f"compute: {timing}")
            require(timing.upload > 0, f"upload: {timing}")
            parts = timing.upload + timing.compute + timing.download
            require(parts <= timing.total + 0.1, f"the stages are longer than the total: {timing}")
        answer.add(**runtime.stats().to_dict()["stages"])


def check_mapped(answer: Answer) -> None:
    """Mapped pinned memory: no copies on the stream; which way of reading the outputs was chosen.

    `mapped_us` against `copied_us` says whether an integrated GPU gains by it: its own reads of pinned memory
    may be uncached.
    """
    with kernel_runtime(mapped=True) as runtime:
        slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]
        every_door(runtime)
        chosen = "cudaMemcpy" if slot._copy_reads else "in place"
        answer.add(chosen=chosen, read_in_place_us=median_us(slot._read_direct, 50))
        try:
            answer.add(read_copied_us=median_us(slot._read_copied, 50))
        except CudaError as error:
            answer.add(read_copied_us=str(error))
    picture = frames(1)[0]
    for name, mapped in (("mapped_us", True), ("copied_us", False)):
        with kernel_runtime(mapped=mapped) as runtime:
            answer.add(**{name: median_us(lambda runtime=runtime: runtime(picture), 100)})


def check_overlap(answer: Answer) -> None:
    """A stream over slots against calls in a loop, with a kernel of about a millisecond."""
    pictures = frames() * 25
    with kernel_runtime(spin=1_500_000) as runtime:
        started = time.perf_counter()
        for picture in pictures:
            runtime(picture)
        answer.add(loop_fps=len(pictures) / (time.perf_counter() - started))
        started = time.perf_counter()
        for _ in runtime.stream(iter(pictures), "block"):
            pass
        answer.add(stream_fps=len(pictures) / (time.perf_counter() - started))


HEALTHY: dict[str, Callable[[Answer], None]] = {
    "gpu": check_gpu,
    "correct": check_correct,
    "graph": check_graph,
    "allocation": check_allocation,
    "events": check_events,
    "mapped": check_mapped,
    "overlap": check_overlap,
}
