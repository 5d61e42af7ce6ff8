"""HydraNet has the size and the shapes the paper and the facts give it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import MobileNet_V2_Weights
from torchvision.transforms.v2.functional import normalize as normalized

from safetrip_trainer.model.decoder import ChainedResidualPooling, LightWeightRefineNet
from safetrip_trainer.model.heads import TaskHead
from safetrip_trainer.model.hydranet import MAX_DEPTH, HydraNet
from safetrip_trainer.model.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalize


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


def test_taps_are_the_last_blocks_of_mobilenets_stages(net: HydraNet) -> None:
    blocks = list(net.encoder.features)
    widths = [block.conv[-1].num_features for block in blocks[1:]]
    ends = [at + 1 for at, width in enumerate(widths) if widths[at + 1 : at + 2] != [width]]
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = [torch.nn.Sequential(*blocks[: end + 1])(image) for end in ends[1:]]
        maps = net.encoder(image)
    assert len(maps) == len(expected)
    for one, other in zip(maps, expected):
        assert torch.equal(one, other)


def test_decoder_and_heads_are_the_papers() -> None:
    """Written out: adapters, ReLU6, chained pooling, and a lateral convolution on the way up."""
    torch.manual_seed(0)
    decoder = LightWeightRefineNet((3, 4, 5, 6, 7, 9), 8)
    state = decoder.state_dict()
    sides = (16, 8, 4, 4, 2, 2)
    maps = [30 * torch.randn(1, width, side, side) for width, side in zip((3, 4, 5, 6, 7, 9), sides)]

    def conv(x: torch.Tensor, name: str, groups: int = 1) -> torch.Tensor:
        return F.conv2d(x, state[f"{name}.weight"], groups=groups)

    def pooled(x: torch.Tensor, level: int) -> torch.Tensor:
        chain = x = x.clamp(0, 6)
        for stage in range(4):
            chain = conv(F.max_pool2d(chain, 5, 1, 2), f"pools.{level}.convs.{stage}", 8 if level == 3 else 1)
            x = x + chain
        return x

    def up(x: torch.Tensor, level: int, side: int) -> torch.Tensor:
        lateral = conv(x, f"laterals.{level}")
        return F.interpolate(lateral, (side, side), mode="bilinear", align_corners=False)

    l3, l4, l5, l6, l7, l8 = (conv(x, f"adapters.{at}") for at, x in enumerate(maps))
    x = pooled(l8 + l7, 0)
    x = pooled(l6 + l5 + up(x, 0, 4), 1)
    x = pooled(l4 + up(x, 1, 8), 2)
    x = pooled(l3 + up(x, 2, 16), 3)
    torch.testing.assert_close(decoder(maps), x)
    head = TaskHead(8, 5)
    inner = F.conv2d(30 * x, head.pre.weight, groups=8).clamp(0, 6)
    expected = F.conv2d(inner, head.out.weight, head.out.bias, padding=1)
    torch.testing.assert_close(head(30 * x), expected)


def test_images_are_normalised_as_the_encoders_weights_want_them() -> None:
    wanted = MobileNet_V2_Weights.IMAGENET1K_V2.transforms()
    assert (tuple(wanted.mean), tuple(wanted.std)) == (IMAGENET_MEAN, IMAGENET_STD)
    image = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(normalize(image * 255), normalized(image, wanted.mean, wanted.std))


def test_chained_pooling_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    for pool in HydraNet(decoder_channels=16).decoder.pools:
        x = torch.rand(1, 16, 8, 8)
        assert float((pool(x) - x).abs().mean()) < 0.1
