"""What machine this is: recorded with every figure, since a latency without it says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["core_count", "describe_device", "power_mode"]


def core_count() -> int:
    """Cores that this process may run on: fewer than the machine has where a container or taskset says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_device() -> dict[str, Any]:
    """Processor, cores usable by this process, operating system, Jetson model and power mode where known."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": core_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "model": _read("/proc/device-tree/model").strip("\x00 \n") or None,
        "power_mode": power_mode(),
    }


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def power_mode() -> str | None:
    """A Jetson's nvpmodel mode ("15W", "MAXN"), else the frequency governor; None where neither is told."""
    try:
        answer = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None
    for line in answer.splitlines():
        if "Power Mode" in line:
            return line.partition(":")[2].strip()
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
