"""Where an encoder's first weights come from: a file, torchvision's download, or chance; always said."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.error import URLError

from torch import Tensor

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.encoder import MobileNetV2Encoder

__all__ = ["initialize_encoder"]

logger = logging.getLogger(__name__)


def initialize_encoder(encoder: MobileNetV2Encoder, init_weights: str = "auto") -> str:
    """Loads ImageNet weights into the encoder and says in the log which.

    Args:
        init_weights: `"auto"` (torchvision's download where the network is there, random otherwise),
            `"random"`, or a safetensors or torch file of torchvision's mobilenet_v2 (whole or `features`).

    Returns:
        One line that tells where the weights came from, for the run's record.

    Raises:
        CheckpointError: the file is missing, unreadable or of another architecture.
    """
    if init_weights == "random":
        origin = "random"
    elif init_weights == "auto":
        origin = _download(encoder)
    else:
        _load_file(encoder, Path(init_weights))
        origin = f"file {Path(init_weights).name}"
    logger.info("encoder weights: %s", origin)
    return origin


def _download(encoder: MobileNetV2Encoder) -> str:
    from torchvision.models import MobileNet_V2_Weights

    weights = MobileNet_V2_Weights.IMAGENET1K_V2
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        logger.warning(
            "ImageNet weights cannot be downloaded (%s): the encoder starts from random weights; "
            "give init_weights: FILE to start from a file",
            error,
        )
        return "random (download failed)"
    _load_state(encoder, state, "torchvision's download")
    return f"torchvision {weights}"


def _load_file(encoder: MobileNetV2Encoder, path: Path) -> None:
    from safetrip_trainer.model.checkpoint import read_weights

    _load_state(encoder, read_weights(path).state, str(path))


def _load_state(encoder: MobileNetV2Encoder, state: dict[str, Tensor], source: str) -> None:
    own = encoder.state_dict()
    found = {}
    for key, value in state.items():
        name = key if key.startswith("features.") else f"features.{key}"
        if name in own and own[name].shape == value.shape:
            found[name] = value
    missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(own)} encoder tensors are missing or of another shape "
            f"(first: {missing[0]}); expected torchvision's mobilenet_v2 with the same width_mult"
        )
    encoder.load_state_dict(found, strict=False)
