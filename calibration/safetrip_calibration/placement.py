"""Where Q/DQ pairs go: on the tensors that TensorRT's fused INT8 kernels read.

- Before every convolution (depthwise, 1x1, dense alike); activations in between (Clip, Relu) fuse into the
  convolution before them, so the pair comes after the activation.
- On both branches of every elementwise sum: residual adds, the CRP blocks' sums and RefineNet's fusions.
- Before MaxPool, and behind it with the very same scale: a maximum of grid points is a grid point, and the
  pool then runs in INT8 without a rescale.
- The heads (the last convolutions) and everything behind them stay float.

One tensor has one pair, whoever reads it, so that no two scales meet on one edge.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from onnx import NodeProto

from safetrip_calibration.graph import Graph

__all__ = ["QUANTIZABLE", "Placement", "place"]

QUANTIZABLE = ("Conv", "Add", "MaxPool")


@dataclass(frozen=True)
class Placement:
    """The plan of an INT8 graph.

    Attributes:
        readers: tensor -> (node name, input index) of the readers that read it quantised.
        weights: convolution's node name -> name of its weight initialiser, quantised per output channel.
        scale_of: tensor -> the tensor whose scale it uses (itself, or the input of the pool behind it).
        skipped: node name -> why a node of a quantisable kind stays float.
    """

    readers: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    scale_of: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def place(graph: Graph, exclude: Collection[str] = ()) -> Placement:
    """Plan Q/DQ for `graph`; the nodes named in `exclude` stay float (mixed precision)."""
    plan = Placement()
    for node in graph.nodes:
        if node.op_type not in QUANTIZABLE:
            continue
        reason = "kept in float by the precision search" if node.name in exclude else _reason(graph, node)
        if reason:
            plan.skipped[node.name] = reason
            continue
        inputs = range(2) if node.op_type == "Add" else range(1)
        for index in inputs:
            plan.readers.setdefault(node.input[index], []).append((node.name, index))
        if node.op_type == "Conv":
            plan.weights[node.name] = node.input[1]
    for tensor in plan.readers:
        plan.scale_of[tensor] = _scale_source(graph, plan, tensor)
    return plan


def _reason(graph: Graph, node: NodeProto) -> str:
    """Why `node` cannot be quantised; empty when it can."""
    if node.name in graph.heads:
        return "head: its output is what is compared and measured, so it stays float"
    if node.name not in graph.net:
        return "not between the first and the last convolution"
    if node.op_type == "Conv" and node.input[1] not in graph.initializers:
        return "its weights are computed, not constant"
    if node.op_type == "Add" and any(name in graph.initializers for name in node.input):
        return "adds a constant: fused into its neighbour"
    return ""


def _scale_source(graph: Graph, plan: Placement, tensor: str) -> str:
    """Follow quantised pools upwards: their output lives on the grid of their input."""
    while True:
        producer = graph.producer.get(tensor)
        quantised_pool = (
            producer is not None
            and producer.op_type == "MaxPool"
            and (producer.name, 0) in plan.readers.get(producer.input[0], ())
        )
        if not quantised_pool:
            return tensor
        assert producer is not None
        tensor = producer.input[0]
