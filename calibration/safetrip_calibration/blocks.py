"""Blocks of the net: what mixed precision switches between INT8 and FP16 as one.

Single layers are the wrong unit: a residual block whose halves differ pays for a cast between them. A block
is what the exporter named as one: `net.encoder.features.3` out of `net.encoder.features.3.conv.1.0.weight`.
"""

from __future__ import annotations

import re

from onnx import NodeProto

from safetrip_calibration.graph import Graph
from safetrip_calibration.placement import place

__all__ = ["find_blocks"]


def find_blocks(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Block -> names of its quantisable nodes, in the graph's order.

    A convolution belongs to the block of its weights' name; a pool to that of the convolution reading it; a
    sum to that of the convolution computed last before it.
    """
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    plan = place(graph)
    blocks: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op_type in ("Conv", "Add", "MaxPool") and node.name not in plan.skipped:
            conv = _owner(graph, node, order)
            name = _block_name(conv.input[1]) if conv is not None else node.name
            blocks.setdefault(name, []).append(node.name)
    return {name: tuple(nodes) for name, nodes in blocks.items()}


def _owner(graph: Graph, node: NodeProto, order: dict[str, int]) -> NodeProto | None:
    if node.op_type == "Conv":
        return node
    if node.op_type == "MaxPool":
        readers = [
            reader for reader, _ in graph.consumers.get(node.output[0], ()) if reader.op_type == "Conv"
        ]
        if readers:
            return readers[0]
    before = _convs_before(graph, node)
    return max(before, key=lambda conv: order[conv.name], default=None)


def _convs_before(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """The nearest convolutions upstream, seen through everything that is none."""
    found: list[NodeProto] = []
    for tensor in node.input:
        producer = graph.producer.get(tensor)
        if producer is not None:
            found += [producer] if producer.op_type == "Conv" else _convs_before(graph, producer)
    return found


def _block_name(weight: str) -> str:
    """`net.decoder.pools.0.convs.1.weight` -> `net.decoder.pools.0`; without a number: but the last word."""
    numbered = re.match(r"(.*?\.\d+)\.", weight)
    return numbered[1] if numbered else weight.rpartition(".")[0] or weight
