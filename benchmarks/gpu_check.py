"""Correctness, allocation, graph, cache and timing of the runtime on this machine's NVIDIA GPU: one JSON.

    python benchmarks/gpu_check.py --json gpu_check.json [--bundle X.bundle]

Needs numpy and cuda-python (with NVRTC); the project need not be installed. Each check is ok, FAILED, skipped
(with what was answered) or unchecked (it ran, and there was nothing to hold it against). TensorRT and
TensorRT for RTX are tried with the bundle given, each of its precisions by itself; everything else runs on a
kernel compiled here, behind the same protocol. Each check runs in a process of its own with a time limit, and
the JSON is written whenever a figure is known: one that crashes, hangs or breaks the GPU's context takes none
of the others along, and whoever ends this program early finds what was measured until then.

Exit status: 0 nothing failed; 1 a check or a speed-up FAILED, or --limit left no time for one; 2 no GPU, no
such bundle, or wrong arguments.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import platform
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in ("sdk", "trainer", "calibration", "benchmarks"):
    sys.path.insert(0, str(ROOT / folder))

from gpu_apart import DEATH_S, EXIT_S, run_apart  # noqa: E402
from gpu_engines import EngineJob, check_engine  # noqa: E402
from gpu_faults import FAULTS  # noqa: E402
from gpu_kernel import FRAME_SIZE  # noqa: E402
from gpu_overhead import check_overhead  # noqa: E402
from gpu_peers import PEERS, check_peer  # noqa: E402
from gpu_reference import check_reference  # noqa: E402
from gpu_report import Answer, Figures, exit_status, write  # noqa: E402
from gpu_runtime import HEALTHY  # noqa: E402
from gpu_speedups import speedups  # noqa: E402
from safetrip_sdk import Bundle  # noqa: E402
from safetrip_sdk.backends import GPU_BACKENDS  # noqa: E402
from safetrip_sdk.device import describe_device  # noqa: E402
from safetrip_sdk.errors import SafetripError  # noqa: E402
from safetrip_sdk.manifest import PRECISIONS  # noqa: E402

KERNEL_CHECKS: dict[str, Callable[[Answer], None]] = {**HEALTHY, "overhead": check_overhead, **FAULTS}
KERNEL_LIMIT_S = 120.0
ENGINE_LIMIT_S = 900.0
LEAST_S = 3.0
"""A check with less time than this is not begun."""
SPARE_S = DEATH_S + 3.0
"""Of --limit, to begin, and to end a check that a driver holds."""


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--json", metavar="FILE", help="write the report there")
    parser.add_argument("--bundle", help="a bundle, to try TensorRT and TensorRT for RTX with")
    parser.add_argument(
        "--limit",
        type=float,
        default=float("inf"),
        metavar="S",
        help="seconds for everything together; no check takes more than half of what is left, so that one "
        "that hangs leaves time for the others (default: as long as it takes)",
    )
    parser.add_argument(
        "--engine-limit",
        type=float,
        default=ENGINE_LIMIT_S,
        metavar="S",
        help="seconds for one engine, building included, or one peer (default: %(default)g)",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only checks whose name begins so; repeatable"
    )
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="what engines are held to, FP32 in ONNX Runtime on the CPU: made there unless it exists (on a "
        "machine without a GPU, too), so that it can be carried to one without ONNX Runtime",
    )
    parser.add_argument("--run", metavar="NAME", help=argparse.SUPPRESS)
    return parser


def check_named(args: argparse.Namespace, name: str) -> Callable[[Answer], None]:
    """What runs under a name."""
    if name in KERNEL_CHECKS:
        return KERNEL_CHECKS[name]
    if name == "reference":
        return partial(check_reference, args.bundle, args.reference, FRAME_SIZE)
    if name in PEERS:
        return partial(check_peer, name, args.bundle, FRAME_SIZE)
    backend, precision = name.split()
    return partial(check_engine, EngineJob(backend, precision, args.bundle, args.reference, FRAME_SIZE))


def run_check(check: Callable[[Answer], None], answer: Answer) -> None:
    """One check in this process; whatever it raises is its answer."""
    started = time.perf_counter()
    failure: Figures = {}
    try:
        check(answer)
    except Exception as error:
        text = str(error) or type(error).__name__
        failure = {"status": "FAILED", "error": text, "trace": traceback.format_exc()[-2000:]}
    answer.end(seconds=round(time.perf_counter() - started, 2), **failure)


def precisions_in(bundle: str | None) -> tuple[list[str], str | None]:
    """The bundle's precisions, or why it cannot be read."""
    try:
        return (list(Bundle.open(bundle).manifest.precisions) if bundle else []), None
    except (SafetripError, OSError) as error:
        return [], f"--bundle: {error}"


def names_of(precisions: list[str]) -> list[str]:
    """All checks in their order: the kernel's, then each engine of the bundle, then the peers."""
    engines = [f"{backend} {precision}" for backend in GPU_BACKENDS for precision in precisions]
    return [*list(KERNEL_CHECKS)[1:], *(["reference", *engines, *PEERS] if engines else [])]


def chosen(only: list[str] | None, names: list[str], possible: list[str]) -> list[str]:
    """Those of `names` that were asked for; ValueError for a wish that is none of the `possible`."""
    for wish in only or []:
        if not any(name.startswith(wish) for name in ["gpu", *possible]):
            raise ValueError(
                f"--only {wish}: no check's name begins so; there are: gpu, {', '.join(possible)}"
                f"{'' if set(PEERS) & set(possible) else ', and with --bundle its engines and their peers'}"
            )
    if only is None:
        return names
    wanted = {name for name in names if name.startswith(tuple(only))}
    if any(" " in name for name in wanted):
        wanted.add("reference")  # which engines are held to
    return [name for name in names if name in wanted]


class GpuCheck:
    """All checks that were asked for, one after the other, and the report of them.

    Args:
        args: of the command line.
        names: the checks.
        reference: file of the outputs that engines are held to.
        fault: what was wrong before the first one.
    """

    def __init__(self, args: argparse.Namespace, names: list[str], reference: str, fault: str | None) -> None:
        self.args = args
        self.reference = reference
        self.names = names
        self.deadline = time.monotonic() + args.limit - min(SPARE_S, args.limit / 10)
        self.report: Figures = {"device": describe_device(), "python": platform.python_version()}
        if fault:
            self.report["error"] = fault
        self.report["gpu"] = {"status": "not run"}
        self.report["checks"] = {name: {"status": "not run"} for name in names}
        self.write()

    def write(self) -> None:
        write(self.args.json, self.report)

    def run(self) -> int:
        """The exit status."""
        gpu = self.run_one("gpu", self.report, 1.0)
        if gpu["status"] != "ok":
            faults = [f"no GPU to check: {gpu['error']}", self.report.get("error")]
            self.report["error"] = "; ".join(fault for fault in faults if fault)
            self.write()
            self.names = [name for name in self.names if name == "reference" and self.args.reference]
        checks = self.report["checks"]
        for position, name in enumerate(self.names):
            self.run_one(name, checks, 1.0 if position == len(self.names) - 1 else 0.5)
            self.report["speedups"] = speedups(checks, PEERS)
            self.write()
        for name, line in self.report.get("speedups", {}).items():
            print(f"against {name}: {line}", flush=True)
        if "error" in self.report:
            print(self.report["error"], file=sys.stderr)
        return exit_status(self.report)

    def run_one(self, name: str, into: Figures, share: float) -> Figures:
        """One check in a process of its own, within a share of the time that is left."""
        own = KERNEL_LIMIT_S if name in KERNEL_CHECKS else self.args.engine_limit
        limit = min(own, share * (self.deadline - time.monotonic()))
        if limit < LEAST_S:
            into[name] = {"status": "not run", "error": "--limit left no time for it"}
        else:
            into[name] = self.run_for(name, into, limit)
            if into[name].get("timed_out") and limit < own:
                into[name]["status"] = "unfinished"  # for want of time, which is no fault of its own
        self.write()
        rest = {key: value for key, value in into[name].items() if key not in ("status", "seconds")}
        said = rest.get("error") or rest.get("answer") or rest
        print(f"{name:18s} {into[name]['status']:9s} {str(said)[:160]}", flush=True)
        found: Figures = into[name]
        return found

    def run_for(self, name: str, into: Figures, limit: float) -> Figures:
        def tell(figures: Figures) -> None:
            into[name] = figures
            self.write()

        command = [sys.executable, __file__, "--run", name, "--limit", str(limit)]
        if self.args.bundle:
            command += ["--bundle", self.args.bundle, "--reference", self.reference]
        return run_apart(command, limit, tell)


def run_here(args: argparse.Namespace) -> int:
    """`--run`: one check, in a process that leads a group of its own, so that its children end with it."""
    os.setpgrp()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Before the time is over: where each thread is.
    faulthandler.dump_traceback_later(max(1.0, args.limit - 5))
    run_check(check_named(args, args.run), Answer(args.json))
    faulthandler.dump_traceback_later(EXIT_S - 5)
    return 0


def _end_with(parent: int) -> None:
    """Nobody waits for the answer of an orphan, which would hold the GPU."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    if args.run:
        return run_here(args)
    precisions, fault = precisions_in(args.bundle)
    names = names_of(precisions)
    signal.signal(signal.SIGTERM, _terminate)
    with tempfile.TemporaryDirectory() as folder:
        try:
            # With a bundle that cannot be read nobody knows which of its engines were a fair wish.
            names = chosen(args.only, names, names_of(list(PRECISIONS)) if fault else names)
            check = GpuCheck(args, names, args.reference or f"{folder}/reference.npz", fault)
        except (ValueError, OSError) as error:
            parser.error(str(error))
        try:
            return check.run()
        except KeyboardInterrupt:
            return 130


def _terminate(number: int, frame: Any) -> None:
    """Out through every `finally`: the check that runs is ended, too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
