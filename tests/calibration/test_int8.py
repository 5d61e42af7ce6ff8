"""Explicit Q/DQ: where the pairs stand, what the weights are, and that the graph still answers."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import ModelProto, TensorProto, helper, numpy_helper

from safetrip_calibration.errors import GraphError
from safetrip_calibration.fp16 import cast_graph
from safetrip_calibration.graph import Graph
from safetrip_calibration.int8 import LEVELS, MIN_SCALE, insert_qdq, output_shift, quantize_weights
from safetrip_calibration.placement import place
from safetrip_calibration.ranges import collect_ranges
from safetrip_calibration.scales import Method, make_scales
from tests.calibration.nets import CHANNELS, SIZE, NetBuilder, Scenes


@pytest.fixture(scope="module")
def scales(model: ModelProto, scenes: Scenes) -> dict[str, float]:
    graph = Graph(model)
    tensors = sorted(set(place(graph).scale_of.values()))
    ranges = collect_ranges(graph.model, tensors, (scenes[i] for i in range(4)), 4)
    return make_scales(ranges, Method("minmax"))


@pytest.fixture(scope="module")
def quantised(model: ModelProto, scales: dict[str, float]) -> Graph:
    graph = Graph(model)
    return Graph(cast_graph(insert_qdq(graph, place(graph), scales)))


def source(graph: Graph, tensor: str) -> str:
    """Which operator makes `tensor`, seen through Casts."""
    node = graph.producer[tensor]
    return source(graph, node.input[0]) if node.op_type == "Cast" else node.op_type


def test_every_convolution_but_the_heads_reads_int8(quantised: Graph) -> None:
    for node in quantised.nodes:
        if node.op_type == "Conv":
            wanted = node.name not in ("node_logits", "node_depth.out")
            assert (source(quantised, node.input[0]) == "DequantizeLinear") == wanted, node.name
            weight = quantised.producer.get(node.input[1])
            assert (weight is not None and weight.op_type == "DequantizeLinear") == wanted, node.name
            assert node.input[2] in quantised.initializers  # the bias is no integer: TensorRT refuses that


def test_both_branches_of_every_sum_are_quantised(quantised: Graph) -> None:
    for name in ("node_residual", "node_crp.sum", "node_fused"):
        node = quantised.node(name)
        assert [source(quantised, item) for item in node.input] == ["DequantizeLinear"] * 2, name


def test_pools_share_their_inputs_scale(quantised: Graph) -> None:
    before = quantised.node("quantize_down.act")
    behind = quantised.node("quantize_pool")
    assert before.input[1] == behind.input[1]
    assert quantised.node("node_pool").input[0] == "down.act_dq"


def test_activation_stays_between_convolution_and_quantiser(quantised: Graph) -> None:
    for node in quantised.nodes:
        if node.op_type == "Clip":
            assert source(quantised, node.input[0]) in ("Conv", "Add")


def test_float_remainder_is_half_and_scales_are_normal_numbers(quantised: Graph) -> None:
    for node in quantised.nodes:
        if node.op_type == "DequantizeLinear":
            assert quantised.types[node.output[0]] == TensorProto.FLOAT16
            assert (quantised.constant(node.input[1]) >= MIN_SCALE).all()
        if node.op_type == "QuantizeLinear" and node.name != "quantize_image":
            assert quantised.types[node.input[1]] == TensorProto.FLOAT16
    # The image is quantised straight from FP32, without a stop in FP16.
    assert quantised.types[quantised.node("quantize_image").input[0]] == TensorProto.FLOAT


def test_a_tensor_of_a_node_kept_in_fp32_is_quantised_straight_from_it(
    model: ModelProto, scales: dict[str, float]
) -> None:
    graph = Graph(model)
    made = Graph(cast_graph(insert_qdq(graph, place(graph), scales), ["node_stem.act"]))
    assert made.node("quantize_stem.act").input[0] == "stem.act"
    assert made.types["stem.act"] == TensorProto.FLOAT


def test_a_sum_with_a_constant_stays_float() -> None:
    net, c = NetBuilder(), CHANNELS
    net.constant("one", np.array([1], np.int64))
    net.constant("offset", np.ones((1, c, 1, 1), np.float32))
    x = net.node(
        "Transpose", [net.node("Cast", ["frame"], "float", to=TensorProto.FLOAT)], "chw", perm=[0, 3, 1, 2]
    )
    x = net.conv(net.resize(x, "resized", (1, 3, *SIZE)), "stem", (c, 3, 3))
    x = net.conv(net.node("Add", [x, "offset"], "shifted"), "middle", (c, c, 1))
    net.node("Squeeze", [net.conv(x, "head", (1, c, 1)), "one"], "depth")
    plan = place(Graph(net.model([("depth", TensorProto.FLOAT)])))
    assert "adds a constant" in plan.skipped["node_shifted"]
    assert set(plan.readers) == {"resized", "shifted"}


def test_what_stays_float_is_listed_with_its_reason(model: ModelProto) -> None:
    skipped = place(Graph(model), exclude=["node_expand"]).skipped
    assert set(skipped) == {"node_logits", "node_depth.out", "node_certain.round", "node_expand"}
    assert "head" in skipped["node_logits"]
    assert "precision" in skipped["node_expand"]


def test_answers_stay_close(model: ModelProto, quantised: Graph, scenes: Scenes) -> None:
    sessions = [
        onnxruntime.InferenceSession(item.SerializeToString(), providers=["CPUExecutionProvider"])
        for item in (model, quantised.model)
    ]
    for index in range(4, 7):
        (labels, depth, _), (labels8, depth8, _) = (
            item.run(None, {"frame": scenes[index].frame[None]}) for item in sessions
        )
        assert (labels == labels8).mean() > 0.9  # random weights: margins are small
        assert np.median(np.abs(depth8 / depth - 1)) < 0.1


def test_a_missing_scale_is_refused(model: ModelProto, scales: dict[str, float]) -> None:
    graph = Graph(model)
    with pytest.raises(GraphError, match="image"):
        insert_qdq(graph, place(graph), {**scales, "image": float("nan")})


@pytest.mark.parametrize("group", [1, 4, 16])
def test_output_shift_is_what_rounding_really_does_to_the_mean(group: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (32, 16 // group, 1, 1)).astype(np.float32)
    x = rng.uniform(0, 6, (1, 16, 20, 20)).astype(np.float32) * rng.uniform(0, 1, (1, 16, 1, 1)).astype(
        np.float32
    )
    values, scales = quantize_weights(weights)
    rounded = values * scales.reshape(-1, 1, 1, 1)

    def mean_output(w: np.ndarray) -> np.ndarray:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=group)
        graph = helper.make_graph(
            [node], "g", inputs, outputs, [numpy_helper.from_array(w.astype(np.float32), "w")]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0].mean(axis=(0, 2, 3))

    expected = mean_output(rounded) - mean_output(weights)
    np.testing.assert_allclose(output_shift(weights, x.mean(axis=(0, 2, 3))), expected, atol=1e-4)
    if group < 16:  # one weight a channel is its own scale, and nothing is rounded
        assert np.abs(expected).max() > 1e-3


def test_biases_are_corrected_and_shared_ones_are_not_mixed_up(
    model: ModelProto, scales: dict[str, float]
) -> None:
    shared = ModelProto()
    shared.CopyFrom(model)
    for node in shared.graph.node:
        if node.name == "node_crp":
            node.input[2] = "project.bias"
    graph = Graph(shared)
    means = {"fine": np.full(16, 2.0), "depthwise.act": np.full(32, 1.0), "pool": np.full(16, 3.0)}
    made = Graph(insert_qdq(graph, place(graph), scales, means))
    shift = output_shift(graph.constant("expand.weight"), means["fine"])
    corrected = made.constant(made.node("node_expand").input[2])
    np.testing.assert_allclose(corrected, graph.constant("expand.bias") - shift, rtol=1e-6)
    for name, tensor in (("project", "depthwise.act"), ("crp", "pool")):
        shift = output_shift(graph.constant(f"{name}.weight"), means[tensor])
        corrected = made.constant(made.node(f"node_{name}").input[2])
        np.testing.assert_allclose(corrected, graph.constant("project.bias") - shift, rtol=1e-5, atol=1e-6)
    assert made.node("node_adapter").input[2] == "adapter.bias"


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_weights_are_within_half_a_step(weights: np.ndarray) -> None:
    values, steps = quantize_weights(weights)
    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max() <= LEVELS
    # Each output channel has its own, of which its largest weight is 127.
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1, initial=0.0)
    np.testing.assert_allclose(steps, np.maximum(largest / LEVELS, MIN_SCALE), rtol=2.0**-11)
    steps = steps.reshape(-1, *([1] * (weights.ndim - 1)))
    # The scale is rounded to FP16: the largest weight may be clipped by 2**-11 of itself.
    slack = np.abs(weights) * 2.0**-11 + 1e-6
    assert (np.abs(values * steps - weights) <= steps / 2 + slack).all()
