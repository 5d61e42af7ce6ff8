"""MobileNet-v2 as a feature pyramid (torchvision's `features[0..17]`)."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import mobilenet_v2

__all__ = ["MobileNetV2Encoder"]

# The last block of each stage the decoder reads: index into `features`.
_TAPS = (3, 6, 10, 13, 16, 17)


class MobileNetV2Encoder(nn.Module):
    """Features at strides 4, 8, 16, 16, 32 and 32; the classifier's last 1x1 convolution is dropped.

    Args:
        width_mult: MobileNet-v2's width multiplier; 1.0 gives 24, 32, 64, 96, 160 and 320 channels.
    """

    def __init__(self, width_mult: float = 1.0) -> None:
        super().__init__()
        self.features = mobilenet_v2(weights=None, width_mult=width_mult).features[: _TAPS[-1] + 1]
        self.channels = tuple(self._out_channels(index) for index in _TAPS)

    def _out_channels(self, index: int) -> int:
        # An inverted residual ends in 1x1 convolution, BatchNorm.
        return int(self.features[index].conv[-1].num_features)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, h, w), normalised, to six maps, finest first."""
        taps = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps
