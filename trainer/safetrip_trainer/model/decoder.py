"""Light-Weight RefineNet decoder (Nekrasov et al., arXiv 1810.03272; joint net: arXiv 1809.04766)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from safetrip_trainer.model.preprocess import resize

__all__ = ["ChainedResidualPooling", "LightWeightRefineNet"]


class ChainedResidualPooling(nn.Module):
    """Four stages of 5x5 max-pool and 1x1 convolution, each added to the running sum."""

    def __init__(self, channels: int, stages: int = 4, groups: int = 1) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel_size=1, bias=False, groups=groups) for _ in range(stages)
        )

    def forward(self, x: Tensor) -> Tensor:
        top = x
        for conv in self.convs:
            top = conv(self.pool(top))
            x = x + top
        return x


class LightWeightRefineNet(nn.Module):
    """Fuses six encoder maps at strides 4, 8, 16, 16, 32 and 32 into one map at stride 4.

    Args:
        in_channels: the encoder's channels, finest first.
        channels: width of the decoder.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.adapters = nn.ModuleList(nn.Conv2d(c, channels, kernel_size=1, bias=False) for c in in_channels)
        # Coarse to fine: strides 32, 16, 8 and 4; the last is grouped, for it runs on the most pixels.
        self.pools = nn.ModuleList(
            [ChainedResidualPooling(channels) for _ in range(3)]
            + [ChainedResidualPooling(channels, groups=channels)]
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel_size=1, bias=False) for _ in range(3)
        )
        self.activation = nn.ReLU6()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Encoder maps, finest first, to (N, channels, h/4, w/4)."""
        l3, l4, l5, l6, l7, l8 = (adapter(x) for adapter, x in zip(self.adapters, maps))
        groups = ((l8, l7), (l6, l5), (l4,), (l3,))
        fused: Tensor | None = None
        for level, (pool, group) in enumerate(zip(self.pools, groups)):
            total = group[0] if len(group) == 1 else group[0] + group[1]
            if fused is not None:
                lateral = self.laterals[level - 1](fused)
                total = total + resize(lateral, (total.shape[-2], total.shape[-1]))
            fused = pool(self.activation(total))
        assert fused is not None
        return fused
