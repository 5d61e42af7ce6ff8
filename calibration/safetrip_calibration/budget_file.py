"""Budget files: what a device must reach, checked key by key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from safetrip_calibration.device_profile import DeviceProfile, load_profile
from safetrip_calibration.errors import BudgetFileError
from safetrip_calibration.schema import Key, read_yaml
from safetrip_sdk.manifest import PRECISIONS

__all__ = ["FEWEST_FRAMES", "Budget", "load_budget", "load_budget_profile"]

FEWEST_FRAMES = 20
"""With fewer no interval says anything, and noise would pass any limit."""

_BACKENDS = ("auto", "tensorrt", "tensorrt_rtx", "openvino", "onnxruntime")
_ABOVE_0 = Key("number", low=1e-6)
_POINTS = Key("number", low=0.0, high=100.0)
_SHARE = Key("number", low=0.0, high=1.0)
_KEYS = {
    "name": Key("text", required=True),
    "device": Key("text", required=True),
    "profile": Key("text"),
    "power_mode": Key("text"),
    "frame_size": Key("text", required=True),
    "backend": Key("text", choices=_BACKENDS),
    "precision": Key("text", choices=("auto", *PRECISIONS)),
    "frames": Key("integer", low=FEWEST_FRAMES, high=100_000),
    "latency_ms": Key("map", required=True, keys=dict.fromkeys(("p50", "p95", "p99"), _ABOVE_0)),
    "frames_per_second": _ABOVE_0,
    "peak_memory_mb": _ABOVE_0,
    "startup_s": _ABOVE_0,
    "accuracy": Key(
        "map",
        keys={
            "miou_drop": _POINTS,
            "class_iou_drop": _POINTS,
            "delta1_drop": _POINTS,
            "miou": _SHARE,
            "delta1": _SHARE,
        },
    ),
}


@dataclass(frozen=True)
class Budget:
    """A budget; limits that the file leaves out are None or missing.

    Attributes:
        name: short name for tables.
        device: the device it is for, in words.
        profile: name of its device profile (benchmarks/devices), for predictions.
        power_mode: the mode it is for.
        frame_size: (H, W) of the camera's frames.
        backend, precision: what to run; `"auto"` is what the Runtime would choose.
        frames: measured after warming up.
        latency_ms: p50, p95, p99 at most.
        frames_per_second: at least.
        peak_memory_mb, startup_s: at most.
        accuracy: miou_drop, class_iou_drop, delta1_drop in points at most; miou, delta1 at least.
    """

    name: str
    device: str
    frame_size: tuple[int, int]
    latency_ms: dict[str, float]
    profile: str | None = None
    power_mode: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    frames: int = 200
    frames_per_second: float | None = None
    peak_memory_mb: float | None = None
    startup_s: float | None = None
    accuracy: dict[str, float] = field(default_factory=dict)


def load_budget(path: Path) -> Budget:
    """Read a budget file.

    Raises:
        BudgetFileError: unreadable, an unknown or missing key, a value of the wrong type; names file and key.
    """
    raw = read_yaml(path, _KEYS, BudgetFileError)
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", raw["frame_size"])
    if match is None or "0" in match.groups():
        raise BudgetFileError(
            f"{path}: key frame_size: want HxW such as 1080x1920, found {raw['frame_size']!r}"
        )
    if not raw["latency_ms"]:
        raise BudgetFileError(f"{path}: key latency_ms: want at least one of p50, p95, p99")
    return Budget(**{**raw, "frame_size": (int(match[1]), int(match[2]))})


def load_budget_profile(path: Path, budget: Budget) -> DeviceProfile:
    """The profile of the budget's device, from the folder `devices` beside the budget file's own.

    Raises:
        BudgetFileError: the budget names no profile.
        ProfileError: the profile cannot be read.
    """
    if budget.profile is None:
        raise BudgetFileError(f"{path}: key profile is missing: a prediction needs a device profile's name")
    return load_profile(path.absolute().parent.parent / "devices" / f"{budget.profile}.yaml")
