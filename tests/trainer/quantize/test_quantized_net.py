"""The quantised net against the float net and onnxruntime on the graph it exports, and while learning."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from safetrip_calibration.calibrate import DEFAULT_METHOD, ranges_of
from safetrip_calibration.frames import LabelledFrame
from safetrip_calibration.graph import Graph
from safetrip_calibration.int8 import insert_qdq, quantize_weights
from safetrip_calibration.placement import place
from safetrip_calibration.scales import make_scales, parse_method
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.onnx_file import to_onnx
from safetrip_trainer.model.hydranet import HydraNet, HydraOutput
from safetrip_trainer.quantize import QuantizedNet, quantize_student
from safetrip_trainer.quantize.fake_quant import ActivationQuantizer, quantize_weight

SIZE = (64, 96)


@pytest.fixture(scope="module")
def student() -> HydraNet:
    torch.manual_seed(0)
    net = HydraNet(width_mult=0.35, decoder_channels=32)
    for name, value in net.named_buffers():  # statistics that folding must take along
        if name.endswith("running_mean"):
            value.normal_(0.0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    for head in (net.segmentation, net.depth):  # answers that rounding can be seen in
        torch.nn.init.normal_(head.out.weight, std=0.2)
    for name, weight in net.decoder.named_parameters():
        if ".convs." in name:
            weight.data.mul_(10.0)  # chains that do not end below FP16's smallest numbers
    return net.eval()


@pytest.fixture(scope="module")
def quantised(student: HydraNet, prepared: PreparedIndex) -> QuantizedNet:
    return quantize_student(student, SIZE, PreparedFrames(prepared, "train"), count=6)


@pytest.fixture(scope="module")
def frame(prepared: PreparedIndex) -> LabelledFrame:
    return PreparedFrames(prepared, "val")[0]


def _run(model: ModelProto, frame: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    # As written: no fusion that computes Q/DQ in another order.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs: list[np.ndarray] = session.run(None, {"frame": frame[None]})
    return outputs


def test_without_rounding_it_is_the_float_net(student: HydraNet, quantised: QuantizedNet) -> None:
    image = torch.randn(2, 3, *SIZE)
    origin = QuantizedNet(quantised.graph.model, quantised.scales)
    origin.quantizing = False
    with torch.inference_mode():
        expected, found = student(image), origin(image)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.depth, expected.depth, rtol=1e-3, atol=1e-5)


def test_with_rounding_it_is_the_graph_that_it_exports(quantised: QuantizedNet, frame: LabelledFrame) -> None:
    labels, depth, _ = _run(quantised.int8_model(), frame.frame)
    with torch.inference_mode():
        expected_labels, expected_depth, _ = DeployGraph(quantised, SIZE)(torch.from_numpy(frame.frame[None]))
    # A value within one float error of half a step may round either way, and moves what follows by a step.
    np.testing.assert_allclose(depth, expected_depth.numpy(), rtol=5e-3)
    assert (labels == expected_labels.numpy()).mean() > 0.98
    quantised.quantizing = False
    with torch.inference_mode():
        _, float_depth, _ = DeployGraph(quantised, SIZE)(torch.from_numpy(frame.frame[None]))
    quantised.quantizing = True
    rounding = np.abs(float_depth.numpy() - expected_depth.numpy()).mean()
    assert np.abs(depth - expected_depth.numpy()).mean() < 0.05 * rounding


def test_a_head_of_log_depth_is_quantised_too(prepared: PreparedIndex, frame: LabelledFrame) -> None:
    torch.manual_seed(3)
    net = HydraNet(width_mult=0.35, decoder_channels=32, depth_head="log").eval()
    quantised = quantize_student(net, SIZE, PreparedFrames(prepared, "train"), count=2)
    _, depth, _ = _run(quantised.int8_model(), frame.frame)
    with torch.inference_mode():
        _, expected, _ = DeployGraph(quantised, SIZE)(torch.from_numpy(frame.frame[None]))
    np.testing.assert_allclose(depth, expected.numpy(), rtol=5e-3)


def test_its_checkpoint_is_whole(quantised: QuantizedNet) -> None:
    state = {f"net.{key}": value for key, value in quantised.state_dict().items()}
    again = QuantizedNet.from_state(state)
    image = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        assert torch.equal(again(image).logits, quantised(image).logits)
    assert again.input_size == SIZE
    with pytest.raises(TrainerError, match="--quantize int8"):
        QuantizedNet.from_state({"net.encoder.weight": torch.zeros(1)})


def _error(found: HydraOutput, wanted: HydraOutput) -> Tensor:
    """Share of the float net's variance that is lost."""
    parts = [(own - float_net).square().mean() / float_net.var() for own, float_net in zip(found, wanted)]
    return torch.stack(parts).sum()


def test_scales_that_start_too_coarse_are_learned(student: HydraNet, quantised: QuantizedNet) -> None:
    torch.manual_seed(1)
    net = QuantizedNet.from_state(quantised.state_dict(), prefix="")
    with torch.no_grad():
        for parameter in net.quantizers.parameters():
            parameter.add_(math.log(8.0))
    image = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        wanted = student(image)
    optimizer = torch.optim.Adam(net.quantizers.parameters(), lr=0.2)
    losses = []
    for _ in range(25):
        loss = _error(net(image), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_every_weight_and_scale_learns(quantised: QuantizedNet) -> None:
    net = QuantizedNet.from_state(quantised.state_dict(), prefix="")
    found = net(torch.randn(2, 3, *SIZE))
    (found.logits.square().mean() + found.depth.square().mean()).backward()  # type: ignore[no-untyped-call]
    still = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


def test_weights_are_those_of_the_exported_graph() -> None:
    torch.manual_seed(2)
    weight = torch.randn(5, 3, 3, 3) * torch.logspace(-6, 1, 5).reshape(5, 1, 1, 1)
    values, scales = quantize_weights(weight.numpy())
    expected = values * scales.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(quantize_weight(weight).numpy(), expected, rtol=1e-6)


def test_gradients_of_a_step_are_those_of_the_paper() -> None:
    quantizer = ActivationQuantizer(0.5)
    x = torch.tensor([0.6, -0.2, 100.0, -100.0], requires_grad=True)
    y: Tensor = quantizer(x)
    assert y.tolist() == [0.5, -0.0, 63.5, -64.0]
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    # round(x/s) - x/s inside, the clip level outside: (1 - 1.2) + (0 + 0.4) + 127 - 128; d s / d log s = s
    assert quantizer.log_scale.grad is not None
    assert float(quantizer.log_scale.grad) == pytest.approx(0.5 * (-0.2 + 0.4 + 127 - 128), rel=1e-5)


def test_it_starts_as_calibration_quantises(
    student: HydraNet, quantised: QuantizedNet, prepared: PreparedIndex
) -> None:
    """Scales and biases before the first step are those of `trainer calibrate` on the same frames."""
    frames = PreparedFrames(prepared, "train")
    measured = ranges_of(Graph(to_onnx(DeployGraph(student, SIZE))), frames, count=6, seed=0)
    plan = place(measured.graph)
    scales = make_scales(
        {name: measured.ranges[name] for name in plan.scale_of.values()}, parse_method(DEFAULT_METHOD)
    )
    means = {name: item.means for name, item in measured.ranges.items() if item.means is not None}
    calibrated = insert_qdq(measured.graph, plan, scales, means)
    frame = PreparedFrames(prepared, "val")[0].frame
    for own, other in zip(_run(quantised.int8_model(), frame), _run(calibrated, frame)):
        np.testing.assert_allclose(own.astype(float), other.astype(float), rtol=1e-4, atol=1)
