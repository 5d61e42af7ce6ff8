"""Latency of a deploy graph on a device that is not here.

Roofline (Williams, Waterman & Patterson, CACM 52(4), 2009), kernel by kernel: the larger of arithmetic and
memory time, plus the launch; sums over the kernels. Rates and efficiencies are the device profile's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.graph import Graph
from safetrip_calibration.workload import Kernel, kernels

__all__ = ["BYTES", "Prediction", "kernel_ms", "predict"]

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Prediction:
    """Predicted milliseconds of one frame.

    Attributes:
        total_ms: with the profile's overhead.
        by_kind: kind of kernel -> ms.
        kernels: (name, ms, what bounds it: "compute", "memory" or "launch"), slowest first.
        gmacs: multiply-adds of one frame, in 10^9.
    """

    total_ms: float
    by_kind: dict[str, float]
    kernels: tuple[tuple[str, float, str], ...]
    gmacs: float


def predict(
    model: ModelProto,
    frame_size: tuple[int, int],
    profile: DeviceProfile,
    precision: str = "fp16",
    assignment: Mapping[str, str] | None = None,
) -> Prediction:
    """Predict the latency of the FP32 graph `model`, were it of `precision`.

    Args:
        model: an FP32 deploy graph (of any precision's bundle: its model.fp32.onnx).
        frame_size: (H, W) of the camera's frames.
        profile: of the device.
        precision: of the convolutions; what is in between has 16 bits unless this is fp32.
        assignment: node name -> precision, for those that differ (mixed precision).

    Raises:
        GraphError: the graph's shapes are not known.
    """
    parts = kernels(model, frame_size)
    # The heads stay float in an INT8 graph, wherever it comes from.
    heads = dict.fromkeys(Graph(model).heads, "fp16") if precision == "int8" else {}
    given = {**heads, **(assignment or {})}
    timed = [(part, *kernel_ms(part, _precision(part, precision, given), profile)) for part in parts]
    by_kind: dict[str, float] = {}
    for part, ms, _ in timed:
        by_kind[part.kind] = by_kind.get(part.kind, 0.0) + ms
    slowest = sorted(((part.name, ms, bound) for part, ms, bound in timed), key=lambda item: -item[1])
    return Prediction(
        total_ms=sum(ms for _, ms, _ in timed) + profile.overhead_ms,
        by_kind=by_kind,
        kernels=tuple(slowest),
        gmacs=sum(part.macs for part in parts) / 1e9,
    )


def kernel_ms(part: Kernel, precision: str, profile: DeviceProfile) -> tuple[float, str]:
    """(milliseconds, what bounds it) of one kernel."""
    if precision == "fp16":
        precision = profile.fp16_runs_as
    launch = profile.launch_us / 1e3
    share = profile.efficiency["traffic" if part.macs else "memory"]
    moved = (part.read + part.written + part.weights) * BYTES[precision]
    memory = moved / (profile.bandwidth_gb_s * 1e6 * share)
    compute = 0.0
    if part.macs:
        rate = profile.peak_tops[precision] * 1e9 * profile.efficiency[part.kind]
        compute = 2 * part.macs / rate
    largest = max(compute, memory)
    bound = "launch" if launch > largest else "compute" if compute >= memory else "memory"
    return largest + launch, bound


def _precision(part: Kernel, default: str, assignment: Mapping[str, str]) -> str:
    """A kernel runs in the widest type that any of its nodes was given."""
    given: Sequence[str] = [assignment[name] for name in part.nodes if name in assignment]
    if given:
        return max(given, key=BYTES.__getitem__)
    # Without convolutions there is nothing that INT8 would speed up but traffic; Q/DQ does not reach most.
    return "fp16" if default == "int8" and part.kind == "memory" else default
