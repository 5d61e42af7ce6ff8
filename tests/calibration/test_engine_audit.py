"""The quantised convolutions of a Q/DQ graph against the layers of an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import ModelProto

from safetrip_calibration.engine_audit import audit_int8, quantized_convolutions
from safetrip_calibration.fp16 import cast_graph
from safetrip_calibration.graph import Graph
from safetrip_calibration.int8 import insert_qdq
from safetrip_calibration.placement import place
from safetrip_calibration.ranges import collect_ranges
from safetrip_calibration.scales import Method, make_scales
from safetrip_sdk.engines.layers import EngineLayer
from tests.calibration.nets import Scenes

E = EngineLayer("", "CaskConvolution", ("int8",), ("int8",), "int8", "", ())


@pytest.fixture(scope="module")
def quantised(model: ModelProto, scenes: Scenes) -> ModelProto:
    graph = Graph(model)
    plan = place(graph)
    ranges = collect_ranges(graph.model, sorted(set(plan.scale_of.values())), (scenes[0],), 1)
    return cast_graph(insert_qdq(graph, plan, make_scales(ranges, Method("minmax"))))


def test_all_but_the_heads_are_asked_for(model: ModelProto, quantised: ModelProto) -> None:
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert set(quantized_convolutions(quantised)) == convolutions - {"node_logits", "node_depth.out"}
    assert quantized_convolutions(model) == ()


def test_a_convolution_kept_in_fp32_is_quantised_all_the_same(model: ModelProto, scenes: Scenes) -> None:
    """Between its pair, whose scale is FP16, and itself stands a cast."""
    graph = Graph(model)
    plan = place(graph)
    ranges = collect_ranges(graph.model, sorted(set(plan.scale_of.values())), (scenes[0],), 1)
    made = insert_qdq(graph, plan, make_scales(ranges, Method("minmax")))
    assert "node_expand" in quantized_convolutions(cast_graph(made, ["node_expand"]))


def test_what_runs_wider_and_what_no_layer_names_is_said(quantised: ModelProto) -> None:
    names = quantized_convolutions(quantised)
    layers = [replace(E, onnx_nodes=("some_DequantizeLinear", name)) for name in names]
    assert audit_int8(quantised, layers).complete
    layers[1] = replace(layers[1], weights="fp16")
    audit = audit_int8(quantised, layers[1:])
    assert (audit.missing, audit.wider) == (names[:1], {names[1]: "fp16"})
    assert audit.int8 == names[2:]
    assert not audit.complete
