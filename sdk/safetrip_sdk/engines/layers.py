"""The layers of a built engine, as the library's own inspector lists them: what really runs in which type.

A strongly typed network asks for its types, but only the engine says what the builder made of them. The
format is that of `IEngineInspector` (https://docs.nvidia.com/deeplearning/tensorrt, "Engine Inspector");
engines made by `safetrip build` carry the details.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetrip_sdk.errors import EngineError

__all__ = ["EngineLayer", "parse_layers"]

# In this order: "uint8" contains "int8", "bfloat16" contains "float16", and "float" is in many.
_TYPES = (
    ("uint8", "uint8"),
    ("int8", "int8"),
    ("int4", "int4"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("bool", "bool"),
    ("bfloat16", "bf16"),
    ("bf16", "bf16"),
    ("fp8", "fp8"),
    ("float8", "fp8"),
    ("fp16", "fp16"),
    ("float16", "fp16"),
    ("half", "fp16"),
    ("fp32", "fp32"),
    ("float", "fp32"),
)
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine, most of them fused from several nodes of the ONNX.

    Attributes:
        name: the engine's own name of it.
        kind: the library's word, such as `CaskConvolution`, `kgen` or `Reformat`; empty where it keeps quiet.
        inputs: element type of each input: `int8`, `fp16`, `fp32`, ..., or `unknown`.
        outputs: the same of the outputs.
        weights: element type of its weights; empty where it names none.
        tactic: the kernel that was chosen; empty where it names none.
        onnx_nodes: names of the ONNX nodes that it computes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: str
    tactic: str
    onnx_nodes: tuple[str, ...]

    @property
    def precision(self) -> str:
        """The type it computes in: that of its weights where it has any, else of what it reads.

        A kernel with INT8 weights and a float input (or the other way round) does not compute in INT8: the
        wider of the two is said.
        """
        read = self.inputs[0] if self.inputs else "unknown"
        if not self.weights:
            return read
        return self.weights if read in (self.weights, "unknown") else max(read, self.weights, key=_bits)


def parse_layers(text: str) -> tuple[EngineLayer, ...]:
    """The layers in an inspector's JSON, in the order of execution.

    Args:
        text: `get_engine_information(LayerInformationFormat.JSON)`.

    Raises:
        EngineError: not JSON of that kind.
    """
    try:
        layers = json.loads(text)["Layers"]
        return tuple(_layer(item) for item in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"no engine inspector's JSON: {type(error).__name__}: {error}") from error


def _layer(item: str | Mapping[str, Any]) -> EngineLayer:
    if isinstance(item, str):  # an engine built without details has names alone
        return EngineLayer(item, "", (), (), "", "", ())
    weights = item.get("Weights") or {}
    return EngineLayer(
        name=item["Name"],
        kind=item.get("LayerType", ""),
        inputs=_types(item.get("Inputs", ())),
        outputs=_types(item.get("Outputs", ())),
        weights=_type(weights["Type"]) if "Type" in weights else "",
        tactic=item.get("TacticName", ""),
        onnx_nodes=tuple(_ONNX_NODE.findall(item.get("Metadata", ""))),
    )


def _types(tensors: Any) -> tuple[str, ...]:
    return tuple(_type(tensor.get("Format/Datatype", "")) for tensor in tensors)


def _type(text: str) -> str:
    """`Thirty-two wide channel vectorized row major Int8 format` or `Half` as a short name."""
    lowered = text.lower()
    return next((short for word, short in _TYPES if word in lowered), "unknown")


def _bits(precision: str) -> int:
    return int(re.sub(r"\D", "", precision) or 0)
