"""Where a precision first leaves FP32: the tensors of two graphs side by side, in the order of computation.

The passes here keep the names of tensors, so every tensor of the FP32 graph can be looked up in the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from polygraphy.backend.onnx import ModifyOutputs, bytes_from_onnx
from polygraphy.backend.onnxrt import OnnxrtRunner

from safetrip_calibration.frames import LabelledFrame
from safetrip_calibration.graph import FLOAT, HALF, Graph
from safetrip_calibration.runners import onnx_session, quiet

__all__ = ["Divergence", "divergences", "first_divergence"]

CHUNK = 24  # tensors fetched at once: bounds the memory at large inputs


@dataclass(frozen=True)
class Divergence:
    """One tensor: `error` is ||other - fp32|| / ||fp32||, `node` the one that makes it in the FP32 graph.

    The error is NaN or infinite where the other's values are.
    """

    tensor: str
    node: str
    op_type: str
    error: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: an error that is no finite number is None."""
        return {**asdict(self), "error": self.error if math.isfinite(self.error) else None}


def divergences(fp32: ModelProto, other: ModelProto, frame: LabelledFrame) -> list[Divergence]:
    """The relative error of every float tensor that both graphs have, in the order of computation."""
    quiet()
    first, second = Graph(fp32), Graph(other)
    names = [
        name
        for node in first.nodes
        for name in node.output
        if first.types[name] == FLOAT and second.types.get(name) in (FLOAT, HALF)
    ]
    found = []
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        pairs = zip(chunk, _run(first.model, chunk, frame), _run(second.model, chunk, frame))
        for name, expected, got in pairs:
            node = first.producer[name]
            found.append(Divergence(name, node.name, node.op_type, _error(expected, got)))
    return found


def first_divergence(items: Sequence[Divergence], tolerance: float) -> Divergence | None:
    """The first tensor whose error is above `tolerance`; None when there is none."""
    return next((item for item in items if not item.error <= tolerance), None)


def _run(model: ModelProto, names: Sequence[str], frame: LabelledFrame) -> Iterator[NDArray[np.float32]]:
    watched = ModifyOutputs(model, outputs=list(names), copy=True)
    with OnnxrtRunner(lambda: onnx_session(bytes_from_onnx(watched()))) as runner:
        feed = {model.graph.input[0].name: np.ascontiguousarray(frame.frame)[None]}
        outputs = runner.infer(feed)
        for name in names:
            yield outputs[name].astype(np.float32)


def _error(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    scale = float(np.linalg.norm(expected.ravel()))
    difference = float(np.linalg.norm((got - expected).ravel()))
    return difference / scale if scale else difference
