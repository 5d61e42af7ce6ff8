from __future__ import annotations

import pytest
from onnx import ModelProto, helper

from safetrip_calibration.errors import GraphError
from safetrip_calibration.graph import Graph, load


def test_regions(model: ModelProto) -> None:
    graph = Graph(model)
    assert graph.preprocessing == {
        f"node_{name}" for name in ("float", "chw", "resized", "rgb", "centred", "image")
    }
    assert graph.heads == {"node_logits", "node_depth.out"}
    assert {"node_sigmoid", "node_index", "node_labels", "node_confidence", "node_depth"} <= graph.tail
    assert {"node_stem", "node_up", "node_pool", "node_logits"} <= graph.net


def test_constant_nodes_become_initializers_and_names_unique(model: ModelProto) -> None:
    copy = ModelProto()
    copy.CopyFrom(model)
    six = next(item for item in copy.graph.initializer if item.name == "six")
    node = helper.make_node("Constant", [], ["six"], value=six)
    copy.graph.initializer.remove(six)
    for item in copy.graph.node:
        item.name = ""
    copy.graph.node.insert(0, node)
    graph = Graph(copy)
    assert "six" in graph.initializers
    names = [item.name for item in graph.nodes]
    assert len(set(names)) == len(names)
    assert all(names)


def test_old_opset_is_refused(model: ModelProto) -> None:
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.opset_import[0].version = 18
    with pytest.raises(GraphError, match="opset 18"):
        Graph(copy)


def test_a_graph_without_convolution_is_refused() -> None:
    info = helper.make_tensor_value_info("x", 1, [1])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [info], [helper.make_tensor_value_info("y", 1, [1])]
    )
    with pytest.raises(GraphError, match="no convolution"):
        Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


@pytest.mark.parametrize("data", [b"", b"not a model"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(GraphError, match="not an ONNX model"):
        load(data)
