"""HydraNet: one encoder, one decoder, a segmentation and a depth head (arXiv 1809.04766)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from safetrip_trainer.classes import NUM_CLASSES
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.model.decoder import LightWeightRefineNet
from safetrip_trainer.model.encoder import MobileNetV2Encoder
from safetrip_trainer.model.heads import DepthHead, LogDepthHead, TaskHead

__all__ = ["MAX_DEPTH", "MIN_DEPTH", "HydraNet", "HydraOutput"]

MAX_DEPTH = 80.0
"""Metres at which the depth head saturates."""

MIN_DEPTH = 0.3
"""Metres at which the logarithmic depth head saturates."""

_MOST_WIDTH = 16
_DEPTH_PRIOR = 10.0


class HydraOutput(NamedTuple):
    """What the heads say at a quarter of the input's resolution."""

    logits: Tensor
    """(N, classes, h/4, w/4)."""
    depth: Tensor
    """(N, 1, h/4, w/4), a fraction of `MAX_DEPTH`, 0..1."""


class HydraNet(nn.Module):
    """3.03 M parameters and 4.5 GMAC at 512x512 with the defaults.

    Args:
        num_classes: outputs of the segmentation head.
        width_mult: width multiplier of the encoder.
        decoder_channels: width of the decoder.
        depth_head: `sigmoid` (linear in depth) or `log` (linear in its logarithm).

    Raises:
        TrainerError: a width that is not above 0, of which torchvision would make a net of 8 channels.
    """

    def __init__(
        self,
        num_classes: int = NUM_CLASSES,
        width_mult: float = 1.0,
        decoder_channels: int = 256,
        depth_head: Literal["sigmoid", "log"] = "sigmoid",
    ) -> None:
        super().__init__()
        if not 0 < width_mult <= _MOST_WIDTH:
            raise TrainerError(f"width_mult {width_mult}: want a number above 0, {_MOST_WIDTH} at most")
        if decoder_channels < 1:
            raise TrainerError(f"decoder_channels {decoder_channels}: want 1 or more")
        self.encoder = MobileNetV2Encoder(width_mult)
        self.decoder = LightWeightRefineNet(self.encoder.channels, decoder_channels)
        self.segmentation = TaskHead(decoder_channels, num_classes)
        self.depth: DepthHead | LogDepthHead
        if depth_head == "log":
            self.depth = LogDepthHead(decoder_channels, MIN_DEPTH / MAX_DEPTH)
        else:
            self.depth = DepthHead(decoder_channels)
        self._initialize()

    def _initialize(self) -> None:
        # The decoder has no normalisation and its chains of sums add up: at full scale ReLU6 and the depth
        # sigmoid saturate. Chained pooling starts near the identity (Goyal et al. 2017, arXiv 1706.02677,
        # section 5.1, start residual blocks there); not at it: the chain's last links would learn nothing
        # until its first ones have, and end below FP16's smallest numbers. The rest keeps torch's default.
        for name, weight in self.decoder.named_parameters():
            if ".convs." in name:
                weight.data.mul_(0.1)
        # Depth starts at a street's usual distance rather than at half the range.
        prior = self.depth.raw(_DEPTH_PRIOR / MAX_DEPTH)
        for head, bias in ((self.segmentation, 0.0), (self.depth, prior)):
            assert head.out.bias is not None
            nn.init.normal_(head.out.weight, std=0.01)
            nn.init.constant_(head.out.bias, bias)

    def forward(self, image: Tensor) -> HydraOutput:
        """(N, 3, h, w), normalised RGB; h and w multiples of 32."""
        features = self.decoder(self.encoder(image))
        return HydraOutput(self.segmentation(features), self.depth(features))
