"""The rewritten resize against numpy and against OpenVINO's own, the relaxed ArgMax against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safetrip_sdk.backends.openvino_rewrite import relax_argmax, rewrite_resize, taps
from tests.sdk.conftest import expected

openvino = pytest.importorskip("openvino")


def resize_graph(size: tuple[int, int], flip: bool, mode: str = "half_pixel") -> bytes:
    """Cast, Transpose, Resize and, with `flip`, BGR to RGB."""
    nodes = [
        helper.make_node("Cast", ["frame"], ["f32"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f32"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            ["nchw", "", "", "sizes"],
            ["resized"],
            mode="linear",
            coordinate_transformation_mode=mode,
        ),
    ]
    weights = {"sizes": [1, 3, *size], "start": [-1], "end": [-(2**62)], "axis": [1], "step": [-1]}
    if flip:
        nodes.append(helper.make_node("Slice", ["resized", "start", "end", "axis", "step"], ["flipped"]))
    last = "flipped" if flip else "resized"
    nodes.append(helper.make_node("Mul", [last, "one"], ["image"]))
    initializers = [
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in weights.items()
    ]
    initializers.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])
    graph = helper.make_graph(nodes, "resize", [frame], [image], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run(onnx_bytes: bytes, frame: NDArray[np.uint8], rewritten: bool) -> tuple[Any, bool]:
    core = openvino.Core()
    model = core.read_model(onnx_bytes)
    model.reshape({model.inputs[0]: [1, *frame.shape]})
    applied = rewrite_resize(model) if rewritten else False
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(frame[None])[0][0].transpose(1, 2, 0), applied


sides = st.integers(1, 40)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(sides, sides), target=st.tuples(sides, sides), flip=st.booleans(), seed=st.integers(0, 99)
)
def test_any_size(size: tuple[int, int], target: tuple[int, int], flip: bool, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    result, applied = run(resize_graph(target, flip), frame, rewritten=True)
    assert applied
    reference = expected(frame, target)
    np.testing.assert_allclose(result, reference[..., ::-1] if flip else reference, atol=0.01)


@pytest.mark.parametrize("flip", [False, True])
def test_a_camera_frame_as_without_the_rewriting(flip: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (270, 480, 3), dtype=np.uint8)
    graph = resize_graph((128, 160), flip)
    (ours, applied), (theirs, _) = run(graph, frame, True), run(graph, frame, False)
    assert applied
    # Both in float32: what is left is rounding of the taps' weights.
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_another_resize_is_left_alone() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    graph = resize_graph((11, 13), False, "align_corners")
    (ours, applied), (theirs, _) = run(graph, frame, True), run(graph, frame, False)
    assert not applied
    np.testing.assert_array_equal(ours, theirs)


@given(size=st.integers(1, 4000), target=st.integers(1, 4000))
def test_taps_stay_inside(size: int, target: int) -> None:
    low, high, weight = taps(size, target)
    assert len(low) == len(high) == len(weight) == target
    assert low.min() >= 0
    assert high.max() <= size - 1
    assert ((high - low) <= 1).all()
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert (np.diff(low) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 40), st.integers(1, 20), st.integers(1, 20)),
    levels=st.sampled_from([2, 3, 1_000_000]),
    seed=st.integers(0, 99),
)
def test_argmax_names_a_maximum(shape: tuple[int, int, int], levels: int, seed: int) -> None:
    """Always a class with the greatest value; the same as numpy's wherever there is one."""
    values = np.random.default_rng(seed).integers(0, levels, (1, *shape)).astype(np.float32)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, [1, *shape[1:]])]
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    graph = helper.make_graph([node], "argmax", inputs, outputs)
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    core = openvino.Core()
    model = core.read_model(onnx_model.SerializeToString())
    assert relax_argmax(model) == 1
    result = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0]
    greatest = values.max(1, keepdims=True)
    named = np.take_along_axis(values, result[:, None], 1)
    np.testing.assert_array_equal(named, greatest)
    single = (values == greatest).sum(1) == 1
    np.testing.assert_array_equal(result[single], values.argmax(1)[single])
