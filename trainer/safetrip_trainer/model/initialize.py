"""Where a net's first weights come from: a file, torchvision's download, or chance; always said."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.error import URLError

from torch import Tensor

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import read_weights, translate_keys
from safetrip_trainer.model.hydranet import HydraNet

__all__ = ["initialize_net"]

logger = logging.getLogger(__name__)


def initialize_net(net: HydraNet, init_weights: str = "auto") -> str:
    """Loads first weights into the encoder, or into the whole net, and says in the log which.

    Args:
        net: with random weights.
        init_weights: `"auto"` (torchvision's ImageNet weights for the encoder where the network is there,
            random otherwise), `"random"`, or a safetensors or torch file: torchvision's mobilenet_v2 (whole
            or `features`), or a trained net's (ours, or what `trainer fix-checkpoint` knows the names of),
            of which everything that fits is taken.

    Returns:
        One line that tells where the weights came from, for the run's record.

    Raises:
        CheckpointError: the file is missing, unreadable, or has not all of this encoder.
    """
    if init_weights == "random":
        origin = "random weights"
    elif init_weights == "auto":
        origin = _download(net)
    else:
        path = Path(init_weights)
        origin = f"{_load(net, read_weights(path).state, str(path))} from {path.name}"
    logger.info("start: %s", origin)
    return origin


def _download(net: HydraNet) -> str:
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
        return "random weights (download failed)"
    return f"{_load(net, state, 'torchvision')} from torchvision's {weights}"


def _load(net: HydraNet, state: dict[str, Tensor], source: str) -> str:
    """Everything that fits, all of the encoder at least; says what that is."""
    found, report = translate_keys(state, net)
    missing = [key for key in report.missing if not key.endswith("num_batches_tracked")]
    of_encoder = [key for key in missing if key.startswith("encoder.")]
    if of_encoder:
        count = sum(key.startswith("encoder.") for key in net.state_dict())
        raise CheckpointError(
            f"{source}: {len(of_encoder)} of {count} encoder tensors are missing or of another shape "
            f"(first: {of_encoder[0]}); expected torchvision's mobilenet_v2, or a net of `trainer fit`, with "
            "the same width_mult"
        )
    net.load_state_dict(found, strict=False)
    if not missing:
        return "the whole net"
    if any(not key.startswith("encoder.") for key in found):
        new = f"{len(missing)} tensors start anew (first: {missing[0]})"
        logger.warning("%s: of the decoder and the heads %s", source, new)
        return "a part of the net"
    return "the encoder"
