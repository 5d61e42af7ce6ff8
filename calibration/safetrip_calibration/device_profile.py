"""Device profiles: what a roofline prediction needs to know of a device, with the source of each figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetrip_calibration.errors import ProfileError
from safetrip_calibration.schema import Key, read_yaml

__all__ = ["DeviceProfile", "load_profile"]

_PRECISIONS = ("fp32", "fp16", "int8")
_KEYS = {
    "name": Key("text", required=True),
    "device": Key("text", required=True),
    "power_mode": Key("text"),
    "sources": Key("map", required=True),
    "peak_tops": Key("map", required=True, keys={name: Key("number", True, 1e-9) for name in _PRECISIONS}),
    "bandwidth_gb_s": Key("number", required=True, low=1e-9),
    "launch_us": Key("number", required=True, low=0.0),
    "overhead_ms": Key("number", low=0.0),
    "fp16_runs_as": Key("text", choices=("fp16", "fp32")),
    "efficiency": Key(
        "map",
        required=True,
        keys={name: Key("number", True, 1e-4, 1.0) for name in ("dense", "depthwise", "traffic", "memory")},
    ),
}


@dataclass(frozen=True)
class DeviceProfile:
    """Rates of one device in one power mode.

    Attributes:
        peak_tops: precision -> 10^12 operations a second (a multiply-add counts as two), dense.
        bandwidth_gb_s: of the memory that activations live in.
        launch_us: fixed cost of each kernel.
        overhead_ms: fixed cost of each frame outside the kernels (copies, synchronisation).
        fp16_runs_as: what the device really computes FP16 in; CPUs widen it to fp32.
        efficiency: share of the peak that `dense` and `depthwise` convolutions reach, share of the bandwidth
            that their `traffic` reaches, and that kernels of `memory` kind (pools, resizes, ArgMax) reach.
        sources: key -> where its figure comes from.
    """

    name: str
    device: str
    sources: dict[str, str]
    peak_tops: dict[str, float]
    bandwidth_gb_s: float
    launch_us: float
    efficiency: dict[str, float]
    power_mode: str | None = None
    overhead_ms: float = 0.0
    fp16_runs_as: str = "fp16"


def load_profile(path: Path) -> DeviceProfile:
    """Read a device profile.

    Raises:
        ProfileError: unreadable, a key unknown or missing, or a value of the wrong type; names file and key.
    """
    return DeviceProfile(**read_yaml(path, _KEYS, ProfileError))
