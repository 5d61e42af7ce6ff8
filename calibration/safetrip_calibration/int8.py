"""Explicit Q/DQ: the plan of `placement` and the scales of `scales` written into the graph.

Rounding the weights shifts a convolution's mean output by (W_q - W) E[x], which adds up over eighty layers
and shows in metric depth first. The shift is known, so it is taken out of the bias (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, with E[x] from the
calibration frames). The bias itself stays float: TensorRT refuses integer ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from safetrip_calibration.errors import GraphError
from safetrip_calibration.graph import Graph
from safetrip_calibration.placement import Placement

__all__ = [
    "LEVELS",
    "MIN_SCALE",
    "insert_qdq",
    "output_shift",
    "quantize_weights",
    "round_scale",
    "with_own_biases",
]

LEVELS = 127  # symmetric: -127..127, so that no value has a positive partner missing
MIN_SCALE = 2.0**-14  # FP16's smallest normal number


def round_scale(scale: np.ndarray | float) -> np.ndarray:
    """The scale as FP16 holds it (in float32): weights are made for what the graph will divide by."""
    floored = np.maximum(np.asarray(scale, np.float32), np.float32(MIN_SCALE))
    rounded: np.ndarray = floored.astype(np.float16).astype(np.float32)
    return rounded


def quantize_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(O, ...) float32 -> (the same shape in INT8, scales (O,) float32): symmetric, per output channel."""
    largest = np.abs(weights.reshape(weights.shape[0], -1)).max(axis=1, initial=0.0)
    scales = round_scale(largest / LEVELS)
    divided = weights / scales.reshape(-1, *([1] * (weights.ndim - 1)))
    return np.clip(np.rint(divided), -LEVELS, LEVELS).astype(np.int8), scales


def output_shift(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """How far rounding the weights moves a convolution's mean output.

    Args:
        weights: (O, I / groups, kh, kw).
        means: (I,) mean of each input channel.

    Returns:
        (O,) mean output with rounded weights minus that without (borders, where padding is zero, apart).
    """
    values, scales = quantize_weights(weights)
    error = values * scales.reshape(-1, *([1] * (weights.ndim - 1))) - weights
    outputs, inner = weights.shape[:2]
    # Output channel o reads the input channels of its group.
    group = np.arange(outputs) * (len(means) // inner) // outputs
    inputs = means[group[:, None] * inner + np.arange(inner)]
    shift: np.ndarray = (error.reshape(outputs, inner, -1).sum(axis=2) * inputs).sum(axis=1)
    return shift


def with_own_biases(graph: Graph, plan: Placement) -> ModelProto:
    """The same model with a bias for every quantised convolution: its own, zero where it had none."""
    model = ModelProto()
    model.CopyFrom(graph.model)
    for node in model.graph.node:
        if node.name not in plan.weights:
            continue
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
        if bias is None:
            outputs = graph.initializers[node.input[1]].dims[0]
            bias = np.zeros(outputs, np.float32)
        name = f"{node.name}.own_bias"
        model.graph.initializer.append(numpy_helper.from_array(bias, name))
        node.input[:] = [*node.input[:2], name]
    return model


def insert_qdq(
    graph: Graph,
    plan: Placement,
    scales: Mapping[str, float],
    means: Mapping[str, np.ndarray] | None = None,
) -> ModelProto:
    """A copy of the FP32 graph with Q/DQ pairs and INT8 weights; cast it to FP16 afterwards.

    Args:
        graph: the FP32 graph that `plan` was made for.
        plan: which tensors and weights.
        scales: tensor -> scale (step of the INT8 grid), for each value of `plan.scale_of`.
        means: tensor -> (channels,) mean, to correct the biases of the convolutions that read it.

    Raises:
        GraphError: a scale is missing, not finite or not above 0.
    """
    writer = _Writer(graph, plan, scales, means or {})
    for name in [item.name for item in graph.model.graph.input]:
        writer.pair(name)
    for node in graph.nodes:
        writer.add(node)
    return writer.finish()


class _Writer:
    def __init__(
        self, graph: Graph, plan: Placement, scales: Mapping[str, float], means: Mapping[str, np.ndarray]
    ) -> None:
        self.means = means
        self.graph = graph
        self.plan = plan
        self.scales = scales
        self.quantised = {reader: tensor for tensor, readers in plan.readers.items() for reader in readers}
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}

    def add(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        for index in range(len(node.input)):
            if (node.name, index) in self.quantised:
                copy.input[index] = f"{node.input[index]}_dq"
        if node.name in self.plan.weights:
            copy.input[1] = self._weight(self.plan.weights[node.name])
            self._correct_bias(node, copy)
        self.nodes.append(copy)
        for name in node.output:
            self.pair(name)

    def pair(self, tensor: str) -> None:
        """Q and DQ behind `tensor`, when the plan wants them there."""
        if tensor not in self.plan.readers:
            return
        source = self.plan.scale_of[tensor]
        scale = self.scales.get(source, float("nan"))
        if not (np.isfinite(scale) and scale > 0):
            raise GraphError(
                f"tensor {source!r}: its calibrated scale is {scale}; calibrate on frames that reach it"
            )
        self._constant(f"{source}_scale", round_scale(scale))
        self._constant("int8_zero", np.int8(0))
        inputs = [f"{source}_scale", "int8_zero"]
        self.nodes.append(
            helper.make_node("QuantizeLinear", [tensor, *inputs], [f"{tensor}_q"], name=f"quantize_{tensor}")
        )
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{tensor}_q", *inputs], [f"{tensor}_dq"], name=f"dequantize_{tensor}"
            )
        )

    def _weight(self, name: str) -> str:
        made = f"{name}_dq"
        if f"{name}_q" not in self.tensors:
            values, scales = quantize_weights(numpy_helper.to_array(self.graph.initializers[name]))
            self._constant(f"{name}_q", values)
            self._constant(f"{name}_scale", scales)
            self._constant(f"{name}_zero", np.zeros(len(scales), np.int8))
            inputs = [f"{name}_q", f"{name}_scale", f"{name}_zero"]
            self.nodes.append(
                helper.make_node("DequantizeLinear", inputs, [made], name=f"dequantize_{name}", axis=0)
            )
        return made

    def _correct_bias(self, node: NodeProto, copy: NodeProto) -> None:
        means = self.means.get(node.input[0])
        if means is None:
            return
        weights = numpy_helper.to_array(self.graph.initializers[node.input[1]])
        shift = output_shift(weights, means)
        bias = self.graph.constant(node.input[2]) if len(node.input) > 2 else np.float32(0)
        if bias is None:
            return
        # Named after the node: two convolutions may share one bias, but not its correction.
        name = f"{node.name}_bias_corrected"
        self._constant(name, (bias - shift).astype(np.float32))
        copy.input[:] = [*copy.input[:2], name]

    def _constant(self, name: str, value: np.ndarray | np.generic) -> None:
        self.tensors[name] = numpy_helper.from_array(np.asarray(value), name)

    def finish(self) -> ModelProto:
        model = ModelProto()
        model.CopyFrom(self.graph.model)
        del model.graph.node[:]
        model.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [item for item in self.graph.model.graph.initializer if item.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, *self.tensors.values()])
        del model.graph.value_info[:]
        return model
