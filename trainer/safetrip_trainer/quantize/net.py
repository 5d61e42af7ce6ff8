"""A deploy graph's net as a torch module: it computes what the INT8 graph computes, and it learns.

The module runs the very nodes of the exported graph, BatchNorm folded, and rounds where `placement` puts
Q/DQ: what is trained is what is shipped, with no second set of rules that could drift from the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn

from safetrip_calibration.graph import Graph, load
from safetrip_calibration.int8 import insert_qdq, output_shift
from safetrip_calibration.placement import Placement, place
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.model.hydranet import HydraOutput
from safetrip_trainer.model.preprocess import resize
from safetrip_trainer.quantize.fake_quant import ActivationQuantizer, quantize_weight

__all__ = ["QuantizedNet"]

_Operation = Callable[..., Tensor]

_ELEMENTWISE: dict[str, _Operation] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Sigmoid": torch.sigmoid,
    "Exp": torch.exp,
}


class QuantizedNet(nn.Module):
    """HydraNet in INT8, as far as `placement` quantises it; the heads stay float.

    Args:
        model: the FP32 deploy graph to start from; kept beside the weights, so that a checkpoint is whole.
        scales: tensor -> step of its INT8 grid, for every tensor that `placement` quantises.

    Attributes:
        quantizing: False makes it the float net of the same weights.

    Raises:
        TrainerError: the graph has a node that is not known here, or no scale for a tensor.
    """

    graph_bytes: Tensor

    def __init__(self, model: ModelProto, scales: Mapping[str, float]) -> None:
        super().__init__()
        self.register_buffer("graph_bytes", _as_tensor(model.SerializeToString(deterministic=True)))
        self.graph = Graph(model)
        self.plan: Placement = place(self.graph)
        self.quantizing = True
        missing = sorted(set(self.plan.scale_of.values()) - set(scales))
        if missing:
            raise TrainerError(f"no calibrated scale for tensor {missing[0]!r} of the net to quantise")
        self.quantizers = nn.ModuleDict(
            {_key(name): ActivationQuantizer(scales[name]) for name in self.plan.scale_of.values()}
        )
        self._image, self._logits, self._depth = _ends(self.graph)
        self._nodes = [node for node in self.graph.nodes if node.name in self._needed()]
        self._operations = {node.name: _operation(self.graph, node) for node in self._nodes}
        self.weights = nn.ParameterDict(
            {
                _key(name): nn.Parameter(torch.from_numpy(value.copy()))
                for node in self._nodes
                if node.op_type == "Conv"
                for name in node.input[1:]
                if (value := self.graph.constant(name)) is not None
            }
        )
        self._quantised = {reader for readers in self.plan.readers.values() for reader in readers}

    @staticmethod
    def is_in(state: Mapping[str, Tensor], prefix: str = "net.") -> bool:
        """Whether a checkpoint's tensors are those of a quantised net."""
        return f"{prefix}graph_bytes" in state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str = "net.") -> QuantizedNet:
        """The net of a checkpoint's tensors, whose names start with `prefix`.

        Raises:
            TrainerError: they are not those of a quantised net.
        """
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not cls.is_in(state, prefix):
            raise TrainerError(
                "the checkpoint holds no quantised net; make one with `trainer fit --quantize int8`"
            )
        model = load(own["graph_bytes"].numpy().tobytes())
        plan = place(Graph(model))
        scales = {
            name: float(own[f"quantizers.{_key(name)}.log_scale"].exp())
            for name in plan.scale_of.values()
            if f"quantizers.{_key(name)}.log_scale" in own
        }
        net = cls(model, scales)
        net.load_state_dict(own)
        return net

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w) of the net's input: the graph has one."""
        output = self.graph.model.graph.output[0].type.tensor_type.shape.dim
        return output[1].dim_value, output[2].dim_value

    @property
    def scales(self) -> dict[str, float]:
        """Tensor -> step of its INT8 grid, as learned."""
        return {name: self._quantizer(name).scale.item() for name in self.plan.scale_of.values()}

    def _quantizer(self, tensor: str) -> ActivationQuantizer:
        found = self.quantizers[_key(tensor)]
        assert isinstance(found, ActivationQuantizer)
        return found

    def forward(self, image: Tensor) -> HydraOutput:
        """(N, 3, h, w), normalised RGB, of the size of the graph's input.

        Raises:
            TrainerError: the image has another size.
        """
        if tuple(image.shape[-2:]) != self.input_size:
            height, width = self.input_size
            raise TrainerError(
                f"this INT8 net has the one input size {height}x{width}, found "
                f"{image.shape[-2]}x{image.shape[-1]}; start `trainer fit --quantize int8` at the size wanted"
            )
        values: dict[str, Tensor] = {self._image: image}
        rounded: dict[str, Tensor] = {}
        for node in self._nodes:
            inputs = [
                self._rounded(values, rounded, name)
                if (node.name, index) in self._quantised
                else values[name]
                for index, name in enumerate(node.input)
                if name in values
            ]
            constants = [self._weight(node, name) for name in node.input[1:] if _key(name) in self.weights]
            values[node.output[0]] = self._operations[node.name](*inputs, *constants)
        return HydraOutput(values[self._logits], values[self._depth])

    @torch.no_grad()
    def correct_biases(self, means: Mapping[str, NDArray[np.float64]]) -> None:
        """Takes out of the biases what rounding the weights adds to the mean output, as calibration does.

        Args:
            means: tensor -> (channels,) mean on real frames, for those that quantised convolutions read.
        """
        for name, weight in self.plan.weights.items():
            node = self.graph.node(name)
            shift = output_shift(self.weights[_key(weight)].numpy(), means[node.input[0]])
            self.weights[_key(node.input[2])] -= torch.from_numpy(shift).float()

    def _rounded(self, values: Mapping[str, Tensor], rounded: dict[str, Tensor], name: str) -> Tensor:
        """A tensor on its grid, once for all its readers, as the graph has one Q/DQ pair for them."""
        if not self.quantizing:
            return values[name]
        if name not in rounded:
            rounded[name] = self._quantizer(self.plan.scale_of[name])(values[name])
        return rounded[name]

    def _weight(self, node: NodeProto, name: str) -> Tensor:
        weight = self.weights[_key(name)]
        quantised = self.quantizing and self.plan.weights.get(node.name) == name
        return quantize_weight(weight) if quantised else weight

    def float_model(self) -> ModelProto:
        """The FP32 deploy graph with the weights as trained."""
        model = ModelProto()
        model.CopyFrom(self.graph.model)
        for tensor in model.graph.initializer:
            if _key(tensor.name) in self.weights:
                value = self.weights[_key(tensor.name)].detach().cpu().numpy()
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        return model

    def int8_model(self) -> ModelProto:
        """The Q/DQ graph, its remainder in FP32."""
        return insert_qdq(Graph(self.float_model()), self.plan, self.scales)

    def _needed(self) -> frozenset[str]:
        """Nodes between the image and the heads' outputs."""
        found: set[str] = set()
        stack = [self._logits, self._depth]
        while stack:
            name = stack.pop()
            node = self.graph.producer.get(name)
            if name == self._image or node is None or node.name in found:
                continue
            found.add(node.name)
            stack.extend(node.input)
        return frozenset(found)


def _key(name: str) -> str:
    """A tensor's name as torch allows it: no dots."""
    return name.replace(".", "/")


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _ends(graph: Graph) -> tuple[str, str, str]:
    """The tensors that are the normalised image, the logits, and depth as a fraction before its resize."""
    first = next(node for node in graph.nodes if node.op_type == "Conv")
    return first.input[0], _before_resize(graph, "labels"), _before_resize(graph, "depth")


def _before_resize(graph: Graph, output: str) -> str:
    node = graph.producer.get(output)
    while node is not None and node.op_type != "Resize":
        node = graph.producer.get(node.input[0])
    if node is None:
        raise TrainerError(f"the deploy graph's output {output!r} comes from no Resize: export it again")
    return str(node.input[0])


def _operation(graph: Graph, node: NodeProto) -> _Operation:
    """What a node does in torch: a function of its tensors, then its trainable constants.

    Raises:
        TrainerError: a node that HydraNet's graphs do not have.
    """
    options: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "Conv":
        return _convolution(options)
    if node.op_type == "MaxPool":
        kernel, pads, strides = options["kernel_shape"], options["pads"], options["strides"]
        return lambda x: F.max_pool2d(x, list(kernel), list(strides), list(pads[:2]))
    if node.op_type == "Clip":
        low, high = (float(graph.constant(name)) for name in node.input[1:3])  # type: ignore[arg-type]
        return lambda x: x.clamp(low, high)
    if node.op_type == "Resize":
        target = graph.constant(node.input[3])
        assert target is not None
        size = (int(target[2]), int(target[3]))
        return lambda x: resize(x, size)
    if node.op_type not in _ELEMENTWISE:
        raise TrainerError(f"node {node.name!r} ({node.op_type}): cannot be trained in INT8 yet")
    return _elementwise(_ELEMENTWISE[node.op_type], [graph.constant(name) for name in node.input])


def _elementwise(function: _Operation, constants: list[NDArray[Any] | None]) -> _Operation:
    """`function` with the inputs that are constant filled in."""
    filled = [None if value is None else torch.from_numpy(value.copy()) for value in constants]

    def apply(*tensors: Tensor) -> Tensor:
        given = iter(tensors)
        return function(*(next(given) if value is None else value.to(tensors[0]) for value in filled))

    return apply


def _convolution(options: Mapping[str, Any]) -> _Operation:
    pads = list(options.get("pads", (0, 0, 0, 0)))
    if pads[:2] != pads[2:]:
        raise TrainerError(f"a convolution with padding {pads} that differs from side to side")
    stride, dilation = list(options.get("strides", (1, 1))), list(options.get("dilations", (1, 1)))
    groups = int(options.get("group", 1))

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, stride, pads[:2], dilation, groups)

    return convolve
