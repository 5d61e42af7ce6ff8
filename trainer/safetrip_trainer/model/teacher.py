"""SegFormer (transformers) as the teacher that labels the images which only have depth."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from torch import Tensor, nn

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.network import is_reachable

__all__ = ["SegformerTeacher"]

logger = logging.getLogger(__name__)

# Hidden sizes, depths and decoder width of mit-b0 .. mit-b5 (SegFormer, arXiv 2105.15203, table 6).
_VARIANTS: dict[str, tuple[list[int], list[int], int]] = {
    "mit-b0": ([32, 64, 160, 256], [2, 2, 2, 2], 256),
    "mit-b1": ([64, 128, 320, 512], [2, 2, 2, 2], 256),
    "mit-b2": ([64, 128, 320, 512], [3, 4, 6, 3], 768),
    "mit-b3": ([64, 128, 320, 512], [3, 4, 18, 3], 768),
    "mit-b4": ([64, 128, 320, 512], [3, 8, 27, 3], 768),
    "mit-b5": ([64, 128, 320, 512], [3, 6, 40, 3], 768),
}


def _hub_is_reachable() -> bool:
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    return is_reachable(url.hostname or "", url.port or 443)


class SegformerTeacher(nn.Module):
    """SegFormer with a head for our classes.

    Args:
        variant: `mit-b0` to `mit-b5`.
        pretrained: start from NVIDIA's ImageNet weights where the model hub is reachable; otherwise, and
            with `False`, from random weights. `origin` tells which.
    """

    def __init__(self, variant: str = "mit-b2", pretrained: bool = True) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        if variant not in _VARIANTS:
            raise TrainerError(
                f"teacher variant {variant!r} is unknown; choose one of {', '.join(_VARIANTS)}"
            )
        hidden, depths, decoder = _VARIANTS[variant]
        config = SegformerConfig(
            hidden_sizes=hidden,
            depths=depths,
            decoder_hidden_size=decoder,
            id2label=dict(enumerate(CLASS_NAMES)),
            label2id={name: index for index, name in enumerate(CLASS_NAMES)},
        )
        self.net = SegformerForSemanticSegmentation(config)
        self.origin = self._load_pretrained(variant) if pretrained else "random"
        logger.info("teacher %s weights: %s", variant, self.origin)

    def _load_pretrained(self, variant: str) -> str:
        from transformers import SegformerModel

        name = f"nvidia/{variant}"
        # A closed network would otherwise be retried for half a minute.
        cached_only = not _hub_is_reachable()
        try:
            encoder = SegformerModel.from_pretrained(name, local_files_only=cached_only)
        except Exception as error:  # the hub's client raises a dozen kinds, all of which mean "not to be had"
            logger.warning(
                "%s cannot be fetched (%s): the teacher starts from random weights",
                name,
                type(error).__name__,
            )
            return f"random ({name} not reachable)"
        self.net.segformer.load_state_dict(encoder.state_dict())
        return name

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, h, w), normalised RGB, to logits (N, classes, h/4, w/4)."""
        logits: Tensor = self.net(pixel_values=image).logits
        return logits
