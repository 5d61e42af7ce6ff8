"""A smaller input that meets a latency budget, where the net as it is does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, numpy_helper

from safetrip_calibration.budget_file import Budget
from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.errors import GraphError
from safetrip_calibration.graph import Graph
from safetrip_calibration.predict import predict_model

__all__ = ["Proposal", "at_input_size", "fastest", "largest_input_size"]

_STRIDE = 32


@dataclass(frozen=True)
class Proposal:
    """A net that a device would run in time, as predicted.

    Attributes:
        size: (h, w) of the net's input.
        precision: the fastest one.
        ms: its predicted latency.
        fits: whether it is within the budget's p50.
    """

    size: tuple[int, int]
    precision: str
    ms: float
    fits: bool


def fastest(model: ModelProto, size: tuple[int, int], budget: Budget, profile: DeviceProfile) -> Proposal:
    """The fastest precision of an FP32 deploy graph whose net runs at `size`."""
    result = predict_model(model, budget, profile)
    precision, found = min(result.predictions.items(), key=lambda item: item[1].total_ms)
    return Proposal(size, precision, found.total_ms, result.passed)


def largest_input_size(
    model: ModelProto, size: tuple[int, int], budget: Budget, profile: DeviceProfile
) -> Proposal | None:
    """The largest input of the same shape, in steps of 32 pixels, that fits; None when none does.

    Args:
        model: an FP32 deploy graph whose net runs at `size` (h, w).
        size: multiples of 32.
        budget: its p50 is what must hold.
        profile: of the budget's device.
    """
    for smaller in _smaller_sizes(size):
        found = fastest(at_input_size(model, size, smaller), smaller, budget, profile)
        if found.fits:
            return found
    return None


def _smaller_sizes(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Sizes of about the same shape, largest first; the shorter side falls in steps of 32."""
    shorter, longer = sorted(size)
    for side in range(shorter - _STRIDE, 3 * _STRIDE - 1, -_STRIDE):
        other = round(longer * side / shorter / _STRIDE) * _STRIDE
        yield (side, other) if size[0] <= size[1] else (other, side)


def at_input_size(model: ModelProto, size: tuple[int, int], wanted: tuple[int, int]) -> ModelProto:
    """A deploy graph exported at `size`, with its net at `wanted` instead.

    Both are (h, w) in multiples of 32, so every map inside the net changes by exactly their ratio.

    Raises:
        GraphError: a Resize has no constant target, or one that is no map of a net at `size`.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = Graph(changed)
    for node in graph.nodes:
        if node.op_type != "Resize":
            continue
        target = graph.constant(node.input[3]) if len(node.input) > 3 else None
        if target is None:
            raise GraphError(f"node {node.name!r}: its size is not constant: export the graph again")
        sides = [int(side) * new for side, new in zip(target[2:], wanted)]
        if any(side % old for side, old in zip(sides, size)):
            raise GraphError(f"node {node.name!r}: resizes to {target.tolist()}, no map of a {size} input")
        scaled = np.array([*target[:2], *(side // old for side, old in zip(sides, size))], target.dtype)
        name = f"{node.input[3]}_at_{wanted[0]}x{wanted[1]}"
        if name not in {item.name for item in graph.model.graph.initializer}:
            graph.model.graph.initializer.append(numpy_helper.from_array(scaled, name))
        node.input[3] = name
    for output in graph.model.graph.output:
        for axis, side in ((1, wanted[0]), (2, wanted[1])):
            output.type.tensor_type.shape.dim[axis].dim_value = side
    return graph.model
