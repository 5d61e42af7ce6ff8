"""Correctness, allocation, graph, cache and timing of the runtime on this machine's NVIDIA GPU: one JSON.

    python benchmarks/gpu_check.py --json gpu_check.json [--bundle X.bundle]

Needs numpy and cuda-python (with NVRTC); the project need not be installed. Each check says ok, FAILED or
skipped with a reason. TensorRT and TensorRT for RTX are tried with the bundle given, each of its precisions
by itself, and what they answer is recorded; everything else runs on a kernel compiled here, behind the same
protocol. Each check runs in a process of its own with a time limit, and the JSON is written after each: one
that crashes, hangs or breaks the GPU's context takes none of the others along.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in ("sdk", "trainer", "calibration", "benchmarks"):
    sys.path.insert(0, str(ROOT / folder))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from gpu_kernel import KernelProgram, expected  # noqa: E402
from gpu_peers import PEERS, check_engine, check_peer, speedups  # noqa: E402
from safetrip_sdk import Bundle, Runtime  # noqa: E402
from safetrip_sdk.backends import GPU_BACKENDS  # noqa: E402
from safetrip_sdk.backends.base import BackendOptions  # noqa: E402
from safetrip_sdk.backends.cuda_slot import CudaBackend  # noqa: E402
from safetrip_sdk.cuda import Cuda  # noqa: E402
from safetrip_sdk.device import describe_device  # noqa: E402
from safetrip_sdk.errors import CudaError, ResultTimeoutError  # noqa: E402

FRAME_SIZE = (1080, 1920)
NET_SIZE = (512, 512)
CLASSES = ("blue", "green", "red")
KERNEL_LIMIT_S = 120.0
ENGINE_LIMIT_S = 900.0

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


def run_check(name: str, bundle: str | None) -> Figures:
    """One check in this process: what it measured, or why it failed."""
    started = time.perf_counter()
    try:
        if name in CHECKS:
            result = {"status": "ok", **CHECKS[name]()}
        elif name in PEERS:
            result = {"status": "ok", **check_peer(name, bundle, FRAME_SIZE)}
        else:
            backend, precision = name.split()
            result = {"status": "ok", **check_engine(backend, precision, bundle, FRAME_SIZE)}
    except Exception as error:  # whatever it is, the report says it
        text = str(error) or type(error).__name__
        result = {"status": "FAILED", "error": text, "trace": traceback.format_exc()[-2000:]}
    result["seconds"] = round(time.perf_counter() - started, 2)
    return result


def run_apart(name: str, bundle: str | None, limit: float) -> Figures:
    """One check in a process of its own, ended after `limit` seconds; then its last output is the answer."""
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        command = [sys.executable, __file__, "--run", name, "--json", str(answer), "--limit", str(limit)]
        with log.open("wb") as output:
            child = subprocess.Popen(
                command + (["--bundle", bundle] if bundle else []), stdout=output, stderr=subprocess.STDOUT
            )
            why = wait_for(child, limit)
        if answer.exists():
            result = json.loads(answer.read_text())
        else:
            result = {"status": "FAILED", "error": why}
        if result["status"] == "FAILED":
            result["output"] = log.read_text(errors="replace")[-4000:]
    return result


def wait_for(child: subprocess.Popen[bytes], limit: float) -> str:
    """How the process ended. One that a driver holds may not even die; it is left behind."""
    try:
        code = child.wait(limit)
    except subprocess.TimeoutExpired:
        child.kill()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            return f"no answer within {limit:.0f} s, and it cannot be ended"
        return f"no answer within {limit:.0f} s"
    return f"ended with status {code} and no answer (a negative status is a signal's number)"


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--json", metavar="FILE", help="write the report there")
    parser.add_argument("--bundle", help="a bundle, to try TensorRT and TensorRT for RTX with")
    parser.add_argument(
        "--limit",
        type=float,
        default=ENGINE_LIMIT_S,
        metavar="S",
        help="seconds for one engine, building included, or one peer (default: %(default)g)",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only checks whose name begins so; repeatable"
    )
    parser.add_argument("--run", metavar="NAME", help=argparse.SUPPRESS)
    return parser


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
    "sticky": check_sticky,
}


def names_of(bundle: str | None, only: list[str] | None) -> list[str]:
    """All checks in their order: the kernel's, then each engine of the bundle, then the peers."""
    precisions = list(Bundle.open(bundle).manifest.precisions) if bundle else []
    engines = [f"{backend} {precision}" for backend in GPU_BACKENDS for precision in precisions]
    names = [*list(CHECKS)[1:], *engines, *(PEERS if bundle else ())]
    return [name for name in names if only is None or name.startswith(tuple(only))]


def main() -> int:
    args = _parser().parse_args()
    if args.run:
        # Before the time is over: where each thread is.
        faulthandler.dump_traceback_later(max(1.0, args.limit - 5))
        write(args.json, run_check(args.run, args.bundle))
        return 0
    names = names_of(args.bundle, args.only)
    report: Figures = {"device": describe_device(), "python": platform.python_version()}
    report["gpu"] = run_apart("gpu", None, KERNEL_LIMIT_S)
    report["checks"] = {name: {"status": "not run"} for name in names}
    if report["gpu"]["status"] != "ok":
        report["error"] = report["gpu"]["error"]
        print(f"no GPU to check: {report['error']}", file=sys.stderr)
        write(args.json, report)
        return 2
    print(report["gpu"], flush=True)
    for name in names:
        limit = KERNEL_LIMIT_S if name in CHECKS else args.limit
        result = report["checks"][name] = run_apart(name, args.bundle, limit)
        rest = {key: value for key, value in result.items() if key not in ("status", "seconds")}
        print(f"{name:18s} {result['status']:7s} {str(result.get('error') or rest)[:160]}", flush=True)
        report["speedups"] = speedups(report["checks"])
        write(args.json, report)
    return 1 if any(item["status"] == "FAILED" for item in report["checks"].values()) else 0


def write(path: str | None, report: Figures) -> None:
    """All of it or nothing: whoever is ended while writing leaves the report as it was."""
    if path:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        part.write_text(json.dumps(report, indent=2, default=str) + "\n")
        part.replace(target)


if __name__ == "__main__":
    sys.exit(main())
