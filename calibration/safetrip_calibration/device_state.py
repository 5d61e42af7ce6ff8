"""What the machine says about itself while figures are taken: model, clocks, power mode, temperature."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from safetrip_sdk.device import core_count

__all__ = ["device_name", "device_state", "power_mode"]

_TIMEOUT_S = 5.0


def device_name() -> str:
    """A Jetson's board name, else the GPU's, else the processor's with its number of usable cores."""
    board = _text(Path("/proc/device-tree/model")).strip("\0 ")
    if board:
        return board
    gpu = _command("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return gpu[0].strip() if gpu else f"{_processor()}, {core_count()} cores"


def power_mode() -> str | None:
    """nvpmodel's mode on a Jetson ("15W", "MAXN"), the CPU governor elsewhere; None when neither is told."""
    for line in _command("nvpmodel", "-q").splitlines():
        if line.startswith("NV Power Mode:"):
            return line.partition(":")[2].strip()
    return _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip() or None


def device_state() -> dict[str, Any]:
    """Device, power mode, clocks in MHz and temperatures in degrees Celsius, as far as the platform tells."""
    state: dict[str, Any] = {"device": device_name(), "processor": _processor(), "cores": core_count()}
    mode = power_mode()
    if mode:
        state["power_mode"] = mode
    clocks = {
        path.parent.parent.name: int(_text(path)) / 1000
        for path in sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        if _text(path).strip().isdigit()
    }
    if clocks:
        state["cpu_mhz"] = clocks
    temperatures = {
        _text(zone / "type").strip(): int(_text(zone / "temp")) / 1000
        for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
        if _text(zone / "temp").strip().lstrip("-").isdigit()
    }
    if temperatures:
        state["temperature_c"] = temperatures
    state.update(_nvidia())
    state["load_1min"] = os.getloadavg()[0]
    return state


def _nvidia() -> dict[str, Any]:
    fields = ("name", "clocks.sm", "clocks.mem", "power.limit", "temperature.gpu")
    query = _command("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    lines = query.splitlines()
    return {"gpu": dict(zip(fields, (item.strip() for item in lines[0].split(","))))} if lines else {}


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _command(*words: str) -> str:
    """Standard output of a tool; empty where it is missing or fails."""
    if shutil.which(words[0]) is None:
        return ""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
