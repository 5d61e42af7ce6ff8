"""Which nodes FP16 cannot hold, judged on real frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from safetrip_calibration.fp16 import FP16_MAX, fp32_region
from safetrip_calibration.graph import FLOAT, Graph
from safetrip_calibration.ranges import TensorRange

__all__ = ["half_faults", "half_tensors"]


def half_tensors(graph: Graph) -> list[str]:
    """Float tensors that FP16 nodes make: those whose range decides."""
    full = fp32_region(graph)
    types = graph.types
    return [
        name for node in graph.nodes if node.name not in full for name in node.output if types[name] == FLOAT
    ]


def half_faults(graph: Graph, ranges: Mapping[str, TensorRange]) -> dict[str, str]:
    """Node name -> why it must stay FP32; empty when FP16 serves throughout.

    A tensor at fault names the node that makes it and, as a Cast would meet the same limit, every node that
    reads it. Addends that vanish beside the rest of their sum are no fault: the sum is the same without them.
    """
    faults: dict[str, str] = {}
    for name, item in ranges.items():
        if not item.overflows_half and _only_vanishes_in_sums(graph, ranges, name):
            continue
        reason = _fault(name, item)
        if reason and name in graph.producer:
            for node in (graph.producer[name], *(reader for reader, _ in graph.consumers.get(name, ()))):
                faults.setdefault(node.name, reason)
    full = fp32_region(graph)
    for node in graph.nodes:
        for name in node.input:
            value = graph.constant(name) if graph.types.get(name) == FLOAT else None
            if value is None or node.name in full:
                continue
            largest = float(np.abs(value).max(initial=0.0))
            if not largest <= FP16_MAX:
                faults.setdefault(node.name, f"constant {name} reaches {largest:.4g}, beyond {FP16_MAX:g}")
    return faults


def _only_vanishes_in_sums(graph: Graph, ranges: Mapping[str, TensorRange], name: str) -> bool:
    """Whether everything that reads the tensor is a sum whose own values FP16 can hold."""
    readers = [reader for reader, _ in graph.consumers.get(name, ())]
    sums = [ranges.get(reader.output[0]) for reader in readers if reader.op_type == "Add"]
    return len(sums) == len(readers) > 0 and all(item and not item.vanishes_in_half for item in sums)


def _fault(name: str, item: TensorRange) -> str:
    if item.overflows_half:
        return f"tensor {name} reaches {item.largest:.4g}, beyond {FP16_MAX:g}"
    if item.vanishes_in_half:
        return f"{item.flushed_share:.1%} of tensor {name}'s values are below FP16's smallest number"
    return ""
