"""An ONNX graph as the passes here see it: who makes and who reads a tensor, and what is net, what is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper, shape_inference

from safetrip_calibration.errors import GraphError

__all__ = ["FLOAT", "HALF", "MIN_OPSET", "Graph", "check", "load"]

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
MIN_OPSET = 19  # the first in which Q/DQ scales may be FP16


class Graph:
    """A model with its links looked up; every node has a unique name, constants are initialisers.

    Args:
        model: copied; `graph.model` is the copy and may be changed, after which a new Graph is made.

    Attributes:
        initializers: name -> TensorProto.
        producer: tensor -> the node that makes it (graph inputs and initialisers have none).
        consumers: tensor -> (node, input index) of every reader.
        outputs: names of the graph's outputs.
        types: tensor -> element type (TensorProto.DataType).
        preprocessing, net, tail: node names before the first convolution, up to the last, and behind it.
        heads: names of the last convolutions, from which no other is reached.

    Raises:
        GraphError: the opset is too old, a node has a subgraph, or no convolution was found.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        _check_opset(self.model)
        _constants_to_initializers(self.model)
        _name_nodes(graph.node)
        self.initializers: dict[str, TensorProto] = {item.name: item for item in graph.initializer}
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[tuple[NodeProto, int]]] = defaultdict(list)
        for node in graph.node:
            if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raise GraphError(
                    f"node {node.name!r} ({node.op_type}) holds a subgraph; export without control flow"
                )
            for name in node.output:
                self.producer[name] = node
            for index, name in enumerate(node.input):
                if name:
                    self.consumers[name].append((node, index))
        self.outputs = tuple(item.name for item in graph.output)
        self.types = _tensor_types(self.model)
        self._by_name = {node.name: node for node in graph.node}
        self._regions()

    @property
    def nodes(self) -> Iterator[NodeProto]:
        """Nodes in topological order."""
        return iter(self.model.graph.node)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initialiser, or None when `name` is none."""
        tensor = self.initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def _regions(self) -> None:
        """Sort nodes into preprocessing (no Conv before), tail (no Conv after) and the net between them."""
        convs = {node.name for node in self.nodes if node.op_type == "Conv"}
        if not convs:
            raise GraphError("the graph has no convolution: this is no deploy graph of SafeTrip")
        after = _closure(convs, self._successors)
        before = _closure(convs, self._predecessors)
        names = [node.name for node in self.nodes]
        inputs = {node.name for item in self.model.graph.input for node, _ in self.consumers[item.name]}
        # What depends on constants alone (a weight's DequantizeLinear) belongs to its reader, the net.
        fed = _closure(inputs, self._successors)
        self.preprocessing = frozenset(name for name in names if name in fed and name not in after)
        self.tail = frozenset(name for name in names if name not in before)
        self.net = frozenset(names) - self.preprocessing - self.tail
        self.heads = frozenset(name for name in convs if not self._reaches(name, convs))

    def _successors(self, name: str) -> Iterable[str]:
        for output in self.node(name).output:
            yield from (node.name for node, _ in self.consumers.get(output, ()))

    def _predecessors(self, name: str) -> Iterable[str]:
        for tensor in self.node(name).input:
            if tensor in self.producer:
                yield self.producer[tensor].name

    def _reaches(self, name: str, targets: set[str]) -> bool:
        return bool(_closure(set(self._successors(name)), self._successors) & targets)

    def node(self, name: str) -> NodeProto:
        """The node of that name; KeyError when there is none."""
        node: NodeProto = self._by_name[name]
        return node


def load(data: bytes) -> ModelProto:
    """Parse a serialised model; GraphError when it is none."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises DecodeError, which onnx does not re-export
        raise GraphError(f"not an ONNX model: {error}") from error
    if not model.graph.node:
        raise GraphError("not an ONNX model: it has no nodes")
    return model


def check(model: ModelProto) -> ModelProto:
    """Return `model` with shapes inferred, checked strictly; GraphError with onnx's message otherwise."""
    try:
        inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise GraphError(f"the graph made is invalid, please report this: {error}") from error
    return inferred


def _check_opset(model: ModelProto) -> None:
    for item in model.opset_import:
        if item.domain in ("", "ai.onnx"):
            if item.version < MIN_OPSET:
                raise GraphError(f"opset {item.version} is too old, want {MIN_OPSET} or newer: export again")
            return
    raise GraphError("the model imports no ONNX opset")


def _tensor_types(model: ModelProto) -> dict[str, int]:
    graph = check(model).graph
    types = {item.name: item.data_type for item in graph.initializer}
    for item in (*graph.input, *graph.value_info, *graph.output):
        types[item.name] = item.type.tensor_type.elem_type
    return types


def _constants_to_initializers(model: ModelProto) -> None:
    graph = model.graph
    kept = []
    for node in graph.node:
        values = [item.t for item in node.attribute if item.name == "value"]
        if node.op_type == "Constant" and values:
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
        else:
            kept.append(node)
    if len(kept) != len(graph.node):
        copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)


def _name_nodes(nodes: Iterable[NodeProto]) -> None:
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}_{node.output[0]}"
        seen.add(node.name)


def _closure(start: set[str], neighbours: Callable[[str], Iterable[str]]) -> set[str]:
    found = set(start)
    stack = list(start)
    while stack:
        for name in neighbours(stack.pop()):
            if name not in found:
                found.add(name)
                stack.append(name)
    return found
