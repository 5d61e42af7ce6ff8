"""What a deploy graph costs, kernel by kernel after fusion: multiply-adds and bytes.

A kernel is what a fusing runtime (TensorRT, OpenVINO) runs at once: a convolution takes the sums and
activations behind it along; preprocessing's elementwise steps are one kernel; reshapes and casts are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto

from safetrip_calibration.errors import GraphError
from safetrip_calibration.graph import Graph, check

__all__ = ["Kernel", "kernels"]

_FREE = frozenset(
    {"Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "QuantizeLinear", "DequantizeLinear"}
)
_FUSES = frozenset({"Clip", "Relu", "Add", "Sub", "Mul", "Div", "Sigmoid", "Cast", "Slice", "Transpose"})


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Attributes:
        name: of its first node; `nodes` are all of them.
        kind: `"dense"`, `"depthwise"` (one input channel for each output) or `"memory"`.
        macs: multiply-adds.
        read, written: elements of activations.
        weights: elements.
    """

    name: str
    kind: str
    macs: int
    read: int
    written: int
    weights: int
    nodes: tuple[str, ...] = ()


def kernels(model: ModelProto, frame_size: tuple[int, int]) -> list[Kernel]:
    """Kernels of an FP32 deploy graph for camera frames of (H, W), in order.

    Raises:
        GraphError: a shape stays unknown with the frame's size fixed.
    """
    fixed = ModelProto()
    fixed.CopyFrom(model)
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    for axis, side in ((1, frame_size[0]), (2, frame_size[1])):
        dims[axis].ClearField("dim_param")
        dims[axis].dim_value = side
    graph = Graph(fixed)
    shapes = _shapes(graph)
    groups = _fuse(graph)
    return [_kernel(graph, members, shapes) for members in groups]


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    inferred = check(graph.model).graph
    shapes = {}
    for item in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = item.type.tensor_type.shape.dim
        shapes[item.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _fuse(graph: Graph) -> list[list[NodeProto]]:
    """Group nodes into kernels: an elementwise node joins the kernel that made one of its inputs last."""
    groups: list[list[NodeProto]] = []
    group_of: dict[str, int] = {}
    for node in graph.nodes:
        made_by = [group_of[name] for name in node.input if name in group_of]
        if (node.op_type in _FUSES or node.op_type in _FREE) and made_by:
            index = max(made_by)
            groups[index].append(node)
        else:
            index = len(groups)
            groups.append([node])
        for name in node.output:
            group_of[name] = index
    return groups


def _kernel(graph: Graph, members: list[NodeProto], shapes: Mapping[str, tuple[int, ...]]) -> Kernel:
    inside = {name for node in members for name in node.output}
    read = {
        name
        for node in members
        for name in node.input
        if name and name not in inside and name not in graph.initializers
    }
    written = {
        name
        for name in inside
        if name in graph.outputs
        or any(reader.output[0] not in inside for reader, _ in graph.consumers.get(name, ()))
    }
    convs = [node for node in members if node.op_type == "Conv"]
    weights = [graph.initializers[node.input[1]].dims for node in convs]
    macs = sum(prod(dims[1:]) * _size(shapes, node.output[0]) for node, dims in zip(convs, weights))
    depthwise = bool(convs) and all(dims[1] == 1 for dims in weights)
    return Kernel(
        name=members[0].name,
        kind="memory" if not convs else "depthwise" if depthwise else "dense",
        macs=macs,
        read=sum(_size(shapes, name) for name in read),
        written=sum(_size(shapes, name) for name in written),
        weights=sum(prod(dims) for dims in weights),
        nodes=tuple(node.name for node in members),
    )


def _size(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    shape = shapes.get(name, (0,))
    if 0 in shape:
        raise GraphError(f"the shape of tensor {name!r} is not known for a fixed frame size")
    return prod(shape)
