"""HydraNet has the size and the shapes the paper and the facts give it."""

from __future__ import annotations

import pytest
import torch

from safetrip_trainer.model.decoder import ChainedResidualPooling
from safetrip_trainer.model.hydranet import MAX_DEPTH, HydraNet


@pytest.fixture(scope="module")
def net() -> HydraNet:
    torch.manual_seed(0)
    return HydraNet().eval()


def test_parameter_count_is_the_papers(net: HydraNet) -> None:
    assert 3.0e6 <= sum(p.numel() for p in net.parameters()) <= 3.1e6


def test_multiply_accumulates_at_512_are_the_papers(net: HydraNet) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, 512, 512))
    # The counter takes a multiply and an add as two.
    assert counter.get_total_flops() / 2 == pytest.approx(4.47e9, rel=0.02)


def test_encoder_taps_have_mobilenets_channels_and_strides(net: HydraNet) -> None:
    assert net.encoder.channels == (24, 32, 64, 96, 160, 320)
    with torch.inference_mode():
        maps = net.encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (4, 6), (2, 3), (2, 3)]


@pytest.mark.parametrize("options", [{}, {"width_mult": 0.5}, {"decoder_channels": 64}, {"num_classes": 7}])
def test_outputs_are_at_quarter_resolution(options: dict[str, float]) -> None:
    net = HydraNet(**options).eval()
    with torch.inference_mode():
        logits, depth = net(torch.randn(2, 3, 96, 160))
    assert logits.shape == (2, options.get("num_classes", 24), 24, 40)
    assert depth.shape == (2, 1, 24, 40)
    assert float(depth.min()) >= 0
    assert float(depth.max()) <= 1


def test_untrained_depth_starts_at_a_streets_distance() -> None:
    torch.manual_seed(1)
    with torch.inference_mode():
        metres = HydraNet().eval()(torch.randn(1, 3, 128, 128)).depth * MAX_DEPTH
    assert 5 < float(metres.median()) < 20


def test_chained_residual_pooling_is_the_sum_of_its_stages() -> None:
    block = ChainedResidualPooling(4, stages=2)
    x = torch.randn(1, 4, 9, 9)
    pool = torch.nn.functional.max_pool2d
    first = block.convs[0](pool(x, 5, 1, 2))
    second = block.convs[1](pool(first, 5, 1, 2))
    torch.testing.assert_close(block(x), x + first + second)
