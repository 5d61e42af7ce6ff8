"""benchmarks/gpu_*.py for the tests: importable, and as the program that is run, with a GPU that is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).parent / "gpu_site"
PROGRAM = ROOT / "benchmarks" / "gpu_check.py"

sys.path.append(str(ROOT / "benchmarks"))

import gpu_apart  # noqa: E402
import gpu_check  # noqa: E402
import gpu_engines  # noqa: E402
import gpu_overhead  # noqa: E402
import gpu_peers  # noqa: E402
import gpu_reference  # noqa: E402
import gpu_report  # noqa: E402
import gpu_speedups  # noqa: E402

__all__ = [
    "PROGRAM",
    "ROOT",
    "ends",
    "gpu_apart",
    "gpu_check",
    "gpu_engines",
    "gpu_environment",
    "gpu_overhead",
    "gpu_peers",
    "gpu_reference",
    "gpu_report",
    "gpu_speedups",
    "run_program",
    "strictly",
]


def gpu_environment(**more: str) -> dict[str, str]:
    """An environment in which `cuda.bindings` is tests/benchmarks/gpu_site's."""
    path = os.pathsep.join(map(str, (SITE, ROOT, ROOT / "benchmarks", ROOT / "sdk")))
    return {**os.environ, "PYTHONPATH": path, **more}


def run_program(report: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """gpu_check.py over that GPU: its exit status, its report, what it printed."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--json", str(report), *arguments],
        env=gpu_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, strictly(report.read_text()) if report.exists() else {}, done.stdout


def ends(pid: int) -> bool:
    """Whether a process is over within some seconds; a zombie is."""
    status = Path(f"/proc/{pid}/status")
    for _ in range(200):
        try:
            if "State:\tZ" in status.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def strictly(text: str) -> Any:
    """JSON as other readers take it: without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)
