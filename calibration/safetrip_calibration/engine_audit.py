"""Whether an INT8 engine computes in INT8 what its graph quantised: the ONNX against the engine's layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from safetrip_sdk.engines.layers import EngineLayer

__all__ = ["Int8Audit", "audit_int8", "quantized_convolutions"]


@dataclass(frozen=True)
class Int8Audit:
    """What became of the quantised convolutions.

    Attributes:
        int8: names of the convolutions that an INT8 kernel computes.
        wider: convolution -> the type that it runs in instead.
        missing: convolutions that no layer names; with engines built without details, all of them.
    """

    int8: tuple[str, ...]
    wider: dict[str, str]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every quantised convolution runs in INT8."""
        return not self.wider and not self.missing


def quantized_convolutions(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions whose input and weights both come out of DequantizeLinear."""
    maker = {output: node for node in model.graph.node for output in node.output}

    def is_dequantized(tensor: str) -> bool:
        node = maker.get(tensor)
        while node is not None and node.op_type == "Cast":
            node = maker.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    return tuple(node.name for node in convolutions if all(map(is_dequantized, node.input[:2])))


def audit_int8(model: onnx.ModelProto, layers: Sequence[EngineLayer]) -> Int8Audit:
    """Look up each quantised convolution of `model` in the engine built from it.

    Args:
        model: the explicit Q/DQ graph.
        layers: of its engine (`safetrip_sdk.backends.tensorrt.inspect_engine`).
    """
    runs_in = {node: layer.precision for layer in layers for node in layer.onnx_nodes}
    asked = quantized_convolutions(model)
    return Int8Audit(
        int8=tuple(name for name in asked if runs_in.get(name) == "int8"),
        wider={name: runs_in[name] for name in asked if runs_in.get(name, "int8") != "int8"},
        missing=tuple(name for name in asked if name not in runs_in),
    )
