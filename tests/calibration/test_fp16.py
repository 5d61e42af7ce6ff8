"""The FP16 graph: types where they belong, the same answers, and faults found."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from safetrip_calibration.errors import GraphError
from safetrip_calibration.fp16 import cast_graph, fp32_region
from safetrip_calibration.graph import Graph
from safetrip_calibration.half_range import half_faults, half_tensors
from safetrip_calibration.ranges import collect_ranges
from tests.calibration.nets import Scenes, make_model

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def run(model: ModelProto, frame: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"frame": frame[None]})


def test_net_tensors_are_half_and_casts_stand_at_boundaries_only(model: ModelProto) -> None:
    half = Graph(cast_graph(model))
    net = {node.name for node in Graph(model).nodes} - fp32_region(Graph(model))
    for node in half.nodes:
        if node.name in net and node.op_type not in ("Cast", "ArgMax"):
            assert half.types[node.output[0]] == HALF, node.name
    assert all(
        item.data_type == HALF for item in half.initializers.values() if item.name.endswith("weight_fp16")
    )
    added = [node for node in half.nodes if node.name.startswith("cast_")]
    # Image into the net; logits to softmax and depth to sigmoid out of it.
    assert Counter(half.types[node.input[0]] for node in added) == {FLOAT: 1, HALF: 2}
    assert [half.types[name] for name in half.outputs] == [TensorProto.UINT8, FLOAT, TensorProto.UINT8]


def test_preprocessing_and_metres_stay_in_full_precision(model: ModelProto) -> None:
    half = Graph(cast_graph(model))
    for name in ("float", "chw", "resized", "rgb", "centred", "image", "sigmoid", "depth.up", "softmax"):
        assert half.types[name] == FLOAT, name
    assert half.types["logits.up"] == HALF  # only ArgMax reads it


def test_answers_are_those_of_full_precision(model: ModelProto, scenes: Scenes) -> None:
    half = cast_graph(model)
    for index in range(3):
        frame = scenes[index].frame
        (labels, depth, confidence), (labels16, depth16, confidence16) = run(model, frame), run(half, frame)
        assert (labels == labels16).mean() > 0.99
        np.testing.assert_allclose(depth16, depth, rtol=2e-2)
        assert np.abs(confidence.astype(int) - confidence16).max() <= 3


def test_a_resize_by_scales_keeps_them_in_full_precision(model: ModelProto, scenes: Scenes) -> None:
    scaling = ModelProto()
    scaling.CopyFrom(model)
    (node,) = [item for item in scaling.graph.node if item.name == "node_up"]
    node.input[:] = [node.input[0], "", "up.scales"]
    scaling.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "up.scales"))
    half = Graph(cast_graph(scaling))
    assert (half.types["up"], half.types[half.node("node_up").input[2]]) == (HALF, FLOAT)
    for one, other in zip(run(half.model, scenes[0].frame), run(cast_graph(model), scenes[0].frame)):
        np.testing.assert_array_equal(one, other)


def test_kept_nodes_are_cast_around(model: ModelProto) -> None:
    half = Graph(cast_graph(model, ["node_expand"]))
    assert half.types["expand"] == FLOAT
    assert half.types["expand.act"] == HALF
    assert half.node("node_expand").input[1] == "expand.weight"


def test_a_tensor_read_in_both_types_is_cast_once(model: ModelProto) -> None:
    half = Graph(cast_graph(model, ["node_expand", "node_adapter"]))
    assert Counter(node.name for node in half.nodes)["cast_fine_fp32"] == 1


def test_an_fp32_output_of_the_net_itself_keeps_its_name_and_type(model: ModelProto, scenes: Scenes) -> None:
    with_logits = ModelProto()
    with_logits.CopyFrom(model)
    with_logits.graph.output.append(helper.make_tensor_value_info("logits", FLOAT, None))
    half = cast_graph(with_logits)
    assert Graph(half).types["logits"] == FLOAT
    assert run(half, scenes[0].frame)[3].dtype == np.float32


def test_unknown_kept_node_is_refused(model: ModelProto) -> None:
    with pytest.raises(GraphError, match="node_typo"):
        cast_graph(model, ["node_typo"])


def scaled(model: ModelProto, name: str, factor: float) -> ModelProto:
    """The model with one initialiser multiplied."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for item in copy.graph.initializer:
        if item.name == name:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(factor), name))
    return copy


def faults_of(model: ModelProto, scenes: Scenes) -> dict[str, str]:
    graph = Graph(model)
    ranges = collect_ranges(graph.model, half_tensors(graph), (scenes[i] for i in range(2)), 2)
    return half_faults(graph, ranges)


def test_a_sound_net_has_no_faults(model: ModelProto, scenes: Scenes) -> None:
    assert faults_of(model, scenes) == {}


def test_overflow_names_the_node_and_its_readers_and_casting_around_them_works(scenes: Scenes) -> None:
    model = scaled(make_model(), "expand.weight", 1e5)
    faults = faults_of(model, scenes)
    assert set(faults) == {"node_expand", "node_expand.act"}
    assert "beyond 65504" in faults["node_expand"]
    labels, depth, _ = run(cast_graph(model, faults), scenes[0].frame)
    expected_labels, expected_depth, _ = run(model, scenes[0].frame)
    assert (labels == expected_labels).mean() > 0.99
    np.testing.assert_allclose(depth, expected_depth, rtol=2e-2)


def test_values_too_small_for_half_are_found(scenes: Scenes) -> None:
    faults = faults_of(scaled(scaled(make_model(), "lateral.weight", 1e-9), "lateral.bias", 1e-9), scenes)
    assert "node_lateral" in faults
    assert "smallest number" in faults["node_lateral"]


def test_an_addend_that_vanishes_beside_the_rest_of_its_sum_is_no_fault(scenes: Scenes) -> None:
    """Chained pooling of a barely trained net: FP16 would round the sum to the same value anyway."""
    model = scaled(scaled(make_model(), "crp.weight", 1e-9), "crp.bias", 1e-9)
    assert faults_of(model, scenes) == {}
    labels, depth, _ = run(cast_graph(model), scenes[0].frame)
    expected_labels, expected_depth, _ = run(model, scenes[0].frame)
    assert (labels == expected_labels).mean() > 0.99
    np.testing.assert_allclose(depth, expected_depth, rtol=1e-2)


def test_a_constant_beyond_half_is_a_fault_and_refused_by_the_cast(scenes: Scenes) -> None:
    model = scaled(scaled(make_model(), "expand.weight", 1e6), "fine.weight", 1e-6)
    assert "node_expand" in faults_of(model, scenes)
    with pytest.raises(GraphError, match=r"expand\.weight"):
        cast_graph(model)
