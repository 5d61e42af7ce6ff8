"""The deploy graph as one simplified ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import onnx
import onnxslim
import torch

from safetrip_trainer.export.graph import DeployGraph

__all__ = ["OPSET", "to_onnx"]

logger = logging.getLogger(__name__)

OPSET = 20
"""The newest that TensorRT 10.3 (JetPack 6.2) parses; Q/DQ with FP16 scales needs 19."""

_OUTPUTS = ["labels", "depth", "confidence"]


def to_onnx(graph: DeployGraph) -> onnx.ModelProto:
    """Exports, folds and simplifies; the frame's height and width stay free.

    Nodes are named after the layer whose weights they hold (`net.encoder.features.0.0`), so that comparisons
    and sensitivity tables speak of layers.
    """
    example = torch.zeros((1, 480, 640, 3), dtype=torch.uint8)
    height, width = torch.export.Dim("height", min=32, max=8192), torch.export.Dim("width", min=32, max=8192)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["frame"],
            output_names=_OUTPUTS,
            dynamic_shapes={"frame": {1: height, 2: width}},
            opset_version=OPSET,
            external_data=False,
        )
    assert program is not None
    model: onnx.ModelProto = onnxslim.slim(program.model_proto)
    _name_by_layer(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_by_layer(model: onnx.ModelProto) -> None:
    weights = {item.name for item in model.graph.initializer}
    renamed: dict[str, str] = {}
    outputs = {output.name for output in model.graph.output}
    counts: dict[str, int] = {}
    for node in model.graph.node:
        weight = next((name for name in node.input if name in weights and name.endswith(".weight")), None)
        kind = node.op_type.lower() if weight is None else weight.removesuffix(".weight")
        counts[kind] = counts.get(kind, -1) + 1
        # Layers with equal weights (untrained zeros) share one tensor after simplification.
        name = f"{kind}.{counts[kind]}" if weight is None or counts[kind] else kind
        node.name = name
        for output in node.output:
            if output not in outputs:
                renamed[output] = name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = renamed.get(name, name)
    # Shapes recorded under the old names; TensorRT and onnxruntime infer them anew.
    del model.graph.value_info[:]
