"""A quantised convolution's bias with FP16 scales, which one of onnxruntime's optimizers makes infinite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from safetrip_sdk import Runtime
from tests.sdk.conftest import deploy_model, make_bundle

SIZE = (8, 16)
SCALE = 1e-3  # its square is less than FP16 has


def _graph() -> bytes:
    """Every pixel is class 1: its bias is 0.25, the others' -0.5, and the frame's part is below 0.01."""
    half = np.float16
    values = {
        "small": np.array(1e-5, half),
        "scale": np.array(SCALE, half),
        "zero": np.array(0, np.int8),
        "weight": np.full((3, 3, 1, 1), 100, np.int8),
        "weight_scale": np.full(3, SCALE, half),
        "weight_zero": np.zeros(3, np.int8),
        "bias": np.array([-0.5, 0.25, -0.5], half),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["numbers"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["numbers"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["nchw", "small"], ["x"]),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w", "bias"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "scale", "zero"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["logits", "axes"], ["peak"], keepdims=0),
        helper.make_node("Cast", ["peak"], ["depth"], to=TensorProto.FLOAT),
    ]
    return deploy_model(nodes, values, SIZE, SIZE, ("labels", "depth"))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_stays_what_it_is(backend: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "biased.bundle", {"fp32": _graph()}, SIZE)
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with Runtime(bundle, backend=backend, precision="fp32") as runtime:
        prediction = runtime(frame)
    assert (prediction.labels == 1).all()
    # INT8 ends at 127 steps.
    assert np.allclose(prediction.depth, 127 * SCALE, rtol=2e-3)
