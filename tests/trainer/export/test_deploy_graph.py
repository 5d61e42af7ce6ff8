"""The deploy graph: torch, ONNX and a plain numpy pipeline agree."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from safetrip_sdk.bundle import Bundle
from safetrip_trainer.data.augment import evaluation_transform
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.errors import ExportError
from safetrip_trainer.export import export_bundle
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.onnx_file import OPSET, to_onnx
from safetrip_trainer.export.verify import ExportCheck, ExportLimits, _require_within, verify_export
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.model.preprocess import IMAGENET_MEAN, IMAGENET_STD

SIZE = (96, 128)


def _frames(count: int = 3, shape: tuple[int, int] = (180, 320)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        frame = cv2.resize(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8), shape[::-1])
        cv2.rectangle(frame, (40, 30), (140, 150), (20, 200, 90), -1)
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def graph() -> DeployGraph:
    torch.manual_seed(0)
    net = HydraNet(decoder_channels=32)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    # The heads start near zero; labels of a net that says the same everywhere would test nothing.
    torch.nn.init.normal_(net.segmentation.out.weight, std=1.0)
    return DeployGraph(net, SIZE).eval()


@pytest.fixture(scope="module")
def model(graph: DeployGraph) -> onnx.ModelProto:
    return to_onnx(graph)


def test_onnx_agrees_with_torch_on_any_frame_size(graph: DeployGraph, model: onnx.ModelProto) -> None:
    for shape in ((180, 320), (97, 131), (1080, 1920)):
        check = verify_export(graph, model, _frames(2, shape))
        assert check.label_agreement >= 0.999
        assert check.depth_error <= 1e-3


def test_graph_agrees_with_a_plain_pipeline(graph: DeployGraph, model: onnx.ModelProto) -> None:
    """What a user would write: cv2, numpy, the bare net."""
    frame = _frames(1)[0]
    rgb = cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_LINEAR)[..., ::-1].astype(np.float32) / 255
    image = ((rgb - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None].astype(np.float32)
    with torch.inference_mode():
        logits, depth = graph.net(torch.from_numpy(image))
    upsampled = torch.nn.functional.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
    probability = torch.softmax(logits, 1).amax(1)[0].numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    labels, metres, confidence = session.run(None, {"frame": frame[None]})
    # cv2 rounds the resized frame to whole numbers: a few border pixels may differ.
    assert (labels[0] == upsampled.argmax(1)[0].numpy()).mean() > 0.99
    assert np.allclose(metres[0], cv2.resize(depth[0, 0].numpy() * 80, SIZE[::-1]), rtol=0.02)
    assert np.abs(confidence[0] / 255 - cv2.resize(probability, SIZE[::-1])).mean() < 0.01
    assert len(np.unique(labels)) > 1


def test_graph_is_one_tensorrt_can_take(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in operators, "folded into the convolutions"
    frame = model.graph.input[0]
    assert frame.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value or d.dim_param for d in frame.type.tensor_type.shape.dim] == [1, "height", "width", 3]
    readers = [node.op_type for node in model.graph.node if "frame" in node.input]
    assert readers == ["Cast"], "TensorRT wants the cast before anything else"
    assert [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")] == [OPSET]
    assert model.ir_version <= 10
    kinds = {output.name: output.type.tensor_type.elem_type for output in model.graph.output}
    assert kinds == {
        "labels": onnx.TensorProto.UINT8,
        "depth": onnx.TensorProto.FLOAT,
        "confidence": onnx.TensorProto.UINT8,
    }
    assert not [item for item in model.graph.initializer if item.data_location == onnx.TensorProto.EXTERNAL]
    # ArgMax's INT64 reaches UINT8 through a float.
    argmax = next(node for node in model.graph.node if node.op_type == "ArgMax")
    cast = next(node for node in model.graph.node if argmax.output[0] in node.input)
    assert cast.op_type == "Cast"
    assert cast.attribute[0].i == onnx.TensorProto.FLOAT


def test_nodes_are_named_after_their_layers(model: onnx.ModelProto) -> None:
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert "net.encoder.features.0.0" in names
    assert "net.segmentation.out" in names


def test_untrained_layers_with_equal_weights_keep_names_of_their_own() -> None:
    """An untrained net's zeros are merged into one tensor; the exported graph must stay valid."""
    torch.manual_seed(0)
    fresh = to_onnx(DeployGraph(HydraNet(decoder_channels=32), SIZE).eval())
    names = [node.name for node in fresh.graph.node]
    assert len(set(names)) == len(names)


def test_a_graph_that_differs_is_refused(graph: DeployGraph, model: onnx.ModelProto) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    weight = next(item for item in wrong.graph.initializer if item.name == "net.depth.out.bias")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 0.1, weight.name))
    with pytest.raises(ExportError, match="depth differs"):
        verify_export(graph, wrong, _frames())
    with pytest.raises(ExportError, match="no frame"):
        verify_export(graph, model, [])


def test_depth_that_is_not_finite_is_refused(graph: DeployGraph, model: onnx.ModelProto) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    bias = next(item for item in wrong.graph.initializer if item.name == "net.depth.out.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(1, np.nan, np.float32), bias.name))
    with pytest.raises(ExportError, match=r"depth in onnx is not finite at \d+ of \d+ pixels"):
        verify_export(graph, wrong, _frames())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["net.segmentation.out.bias", "net.encoder.features.0.1.running_var"])
def test_weights_that_are_not_finite_are_refused(
    graph: DeployGraph, model: onnx.ModelProto, name: str, value: float
) -> None:
    damaged = copy.deepcopy(graph)
    damaged.state_dict()[name][0] = value
    with pytest.raises(ExportError, match=rf"{re.escape(name)} is not finite.*take an earlier checkpoint"):
        verify_export(damaged, model, _frames())


def test_bundle_holds_the_graph_and_says_where_it_comes_from(tmp_path: Path, graph: DeployGraph) -> None:
    out = tmp_path / "small.bundle"
    export_bundle(graph.net, SIZE, out, _frames(), {"note": "test"})
    bundle = Bundle.open(out)
    bundle.verify()
    assert bundle.manifest.training == {"note": "test"}
    assert bundle.manifest.precisions["fp32"].accepted is True
    assert (bundle.manifest.input.height, bundle.manifest.input.width) == SIZE
    assert len(bundle.manifest.classes) == 24
    assert bundle.manifest.classes[6].kind == "obstacle"
    onnx.checker.check_model(onnx.load_from_string(bundle.read("model.fp32.onnx")))


def test_odd_input_size_is_refused_before_any_work(tmp_path: Path, graph: DeployGraph) -> None:
    with pytest.raises(ExportError, match="multiples of 32"):
        export_bundle(graph.net, (100, 128), tmp_path / "odd.bundle", _frames(), {})
    assert not (tmp_path / "odd.bundle").exists()


class _Recorder(torch.nn.Module):
    """Keeps what it is shown, and finds every class as likely, a quarter of the depth away."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen = image
        shape = (image.shape[-2] // 4, image.shape[-1] // 4)
        return torch.zeros(1, 24, *shape), torch.full((1, 1, *shape), 0.25)


def test_the_net_sees_what_it_saw_in_training() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    net = _Recorder()
    _, metres, confidence = DeployGraph(net, (64, 96))(torch.from_numpy(frame[None]))
    expected = evaluation_transform((64, 96))(Planes(frame), np.random.default_rng()).image
    torch.testing.assert_close(net.seen[0], expected)
    assert metres.unique().tolist() == [20.0]
    assert confidence.unique().tolist() == [11]  # 255 / 24, rounded


@pytest.mark.parametrize(
    ("check", "fine"),
    [
        (ExportCheck(1, 0.999, 1e-3, 1e-3), True),
        (ExportCheck(1, 0.998, 0.0, 0.0), False),
        (ExportCheck(1, 1.0, 2e-3, 0.0), False),
        (ExportCheck(1, 1.0, 0.0, 2e-3), False),
    ],
)
def test_each_limit_of_the_export_counts(check: ExportCheck, fine: bool) -> None:
    with nullcontext() if fine else pytest.raises(ExportError, match="differs from torch"):
        _require_within(check, ExportLimits())
