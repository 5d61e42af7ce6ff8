"""FP32 graph -> strongly typed FP16 graph: the precision is in the tensors, no builder flag is needed.

What stays FP32, and why:

- Preprocessing, up to and with the normalised image. Pixels minus a mean loses bits in FP16, and the frame is
  the one tensor here whose error nothing after it can repair. It is 3 channels wide, so it costs little.
- What follows the heads (sigmoid, softmax, the resizing of depth and confidence): one channel, next to free,
  and metres keep their digits. The exception is resizing the logits for ArgMax: as large as the net's largest
  tensors, and only comparisons follow, so it is FP16.
- `scales` and `roi` of Resize, which ONNX wants in FP32.
- Nodes that overflow or vanish in FP16 on real frames (`half_faults`).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from safetrip_calibration.errors import GraphError
from safetrip_calibration.graph import FLOAT, HALF, Graph, check

__all__ = ["FP16_MAX", "cast_graph", "fp32_region"]

FP16_MAX = 65504.0
_ALWAYS_FLOAT = {"Resize": (1, 2)}  # op -> inputs that ONNX types as FP32 whatever the data is


def fp32_region(graph: Graph) -> frozenset[str]:
    """Names of the nodes that stay FP32 by the rules at the top of this module."""
    only_compared: set[str] = set()
    for node in reversed(list(graph.nodes)):
        readers = [reader for name in node.output for reader, _ in graph.consumers.get(name, ())]
        is_output = any(name in graph.outputs for name in node.output)
        leads_to_argmax = bool(readers) and all(reader.name in only_compared for reader in readers)
        if node.op_type == "ArgMax" or (node.name in graph.tail and leads_to_argmax and not is_output):
            only_compared.add(node.name)
    # The image's own Q/DQ pair: Q reads FP32, DQ already feeds the net.
    dequantizers = {node.name for node in graph.nodes if node.op_type == "DequantizeLinear"}
    return (graph.preprocessing | (graph.tail - only_compared)) - dequantizers


def cast_graph(model: ModelProto, keep_fp32: Collection[str] = ()) -> ModelProto:
    """The same graph with the net's tensors, weights and constants in FP16; inputs and outputs are as before.

    Args:
        model: an FP32 deploy graph, with or without Q/DQ nodes (whose scales become FP16 too).
        keep_fp32: names of nodes that stay FP32 beside the region that always does.

    Returns:
        A checked model; a Cast stands only where the two types meet, one for each tensor.

    Raises:
        GraphError: a constant of an FP16 node is beyond 65504, `keep_fp32` names no node.
    """
    graph = Graph(model)
    unknown = sorted(set(keep_fp32) - {node.name for node in graph.nodes})
    if unknown:
        raise GraphError(f"keep_fp32 names nodes that the graph does not have: {', '.join(unknown)}")
    full = set(fp32_region(graph)) | set(keep_fp32)
    for node in graph.nodes:
        # A quantiser reads what is there: no rounding to FP16 on the way from an FP32 tensor to INT8.
        producer = graph.producer.get(node.input[0]) if node.input else None
        if node.op_type == "QuantizeLinear" and producer is not None and producer.name in full:
            full.add(node.name)
    return _Caster(graph, full).run()


class _Caster:
    """Rewrites the nodes in order, remembering which type each tensor has by then."""

    def __init__(self, graph: Graph, full: set[str]) -> None:
        self.graph = graph
        self.full = full
        self.types = graph.types  # as in the FP32 graph; FLOAT ones may change
        self.now: dict[str, int] = {}  # tensor -> FLOAT or HALF, for those that are float
        self.made: dict[tuple[str, int], str] = {}
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def run(self) -> ModelProto:
        for item in self.graph.model.graph.input:
            self.now[item.name] = FLOAT
        for node in self.graph.nodes:
            self._rewrite(node)
        self._restore_outputs()
        model = self.graph.model
        del model.graph.node[:]
        model.graph.node.extend(self.nodes)
        self._replace_initializers(model)
        del model.graph.value_info[:]
        check(model)
        return model

    def _rewrite(self, node: NodeProto) -> None:
        wanted = FLOAT if node.name in self.full else HALF
        copy = NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name and self.types.get(name) == FLOAT:
                fixed = index in _ALWAYS_FLOAT.get(node.op_type, ())
                copy.input[index] = self._as(name, FLOAT if fixed else wanted, node)
        if node.op_type == "Cast" and wanted == HALF:
            for attribute in copy.attribute:
                if attribute.name == "to" and attribute.i == FLOAT:
                    attribute.i = HALF
        for name in node.output:
            self.now[name] = wanted
        self.nodes.append(copy)

    def _as(self, name: str, wanted: int, node: NodeProto) -> str:
        """The name under which tensor `name` can be read in the type `wanted`."""
        if name in self.graph.initializers:
            return self._constant(name, wanted, node)
        if self.now[name] == wanted:
            return name
        if (name, wanted) not in self.made:
            suffix = "fp16" if wanted == HALF else "fp32"
            made = f"{name}_{suffix}"
            self.nodes.append(helper.make_node("Cast", [name], [made], name=f"cast_{made}", to=wanted))
            self.made[name, wanted] = made
        return self.made[name, wanted]

    def _constant(self, name: str, wanted: int, node: NodeProto) -> str:
        if wanted == FLOAT:
            return name
        if name + "_fp16" not in self.constants:
            value = numpy_helper.to_array(self.graph.initializers[name])
            largest = float(np.abs(value).max(initial=0.0))
            if not largest <= FP16_MAX:
                raise GraphError(
                    f"node {node.name!r}: constant {name!r} holds {largest:g}, beyond FP16: keep it in FP32"
                )
            half = numpy_helper.from_array(value.astype(np.float16), name + "_fp16")
            self.constants[name + "_fp16"] = half
        return name + "_fp16"

    def _restore_outputs(self) -> None:
        """Outputs keep their declared type and name: what an FP16 node makes under that name is cast back."""
        for name in self.graph.outputs:
            if self.types[name] != FLOAT or self.now[name] == FLOAT:
                continue
            inner = f"{name}_fp16"
            for node in self.nodes:
                node.output[:] = [inner if item == name else item for item in node.output]
                node.input[:] = [inner if item == name else item for item in node.input]
            self.nodes.append(helper.make_node("Cast", [inner], [name], name=f"cast_{name}", to=FLOAT))

    def _replace_initializers(self, model: ModelProto) -> None:
        used = {name for node in self.nodes for name in node.input}
        kept = [item for item in model.graph.initializer if item.name in used]
        copies = [TensorProto.FromString(item.SerializeToString()) for item in kept]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*copies, *self.constants.values()])
