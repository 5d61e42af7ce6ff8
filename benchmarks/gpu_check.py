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
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in ("sdk", "trainer", "calibration", "benchmarks"):
    sys.path.insert(0, str(ROOT / folder))

from gpu_peers import PEERS, check_engine, check_peer, speedups  # noqa: E402
from gpu_runtime import CHECKS, FRAME_SIZE  # noqa: E402
from safetrip_sdk import Bundle  # noqa: E402
from safetrip_sdk.atomic import write_text  # noqa: E402
from safetrip_sdk.backends import GPU_BACKENDS  # noqa: E402
from safetrip_sdk.device import describe_device  # noqa: E402

KERNEL_LIMIT_S = 120.0
ENGINE_LIMIT_S = 900.0

Figures = dict[str, Any]


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
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(report, indent=2, default=str) + "\n")


if __name__ == "__main__":
    sys.exit(main())
