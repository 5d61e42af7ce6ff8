"""What a checkpoint must be for a run to go on from it, and what it brings along."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import load_checkpoint

__all__ = ["is_word", "require_resumable", "tell_differences"]

logger = logging.getLogger(__name__)

_WORDS = ("best", "last", "hpc")
_KEYS = {"state_dict", "loops", "optimizer_states", "pytorch-lightning_version"}


def is_word(checkpoint: str) -> bool:
    """Whether it is no file's name, but a word that Lightning looks up in the run's folder."""
    return checkpoint in _WORDS


def require_resumable(checkpoint: str, averaging: bool = True) -> None:
    """Looks into the file before a run's folder is touched.

    Args:
        checkpoint: a path, an address, or one of Lightning's own words.
        averaging: whether the run that goes on averages its weights.

    Raises:
        CheckpointError: the file is missing, damaged, holds objects, or is none of a run's checkpoints; or it
            holds an average, which the run would take for its weights.
    """
    if is_word(checkpoint) or "://" in checkpoint:
        return
    path = Path(checkpoint)
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: holds weights alone; a run goes on from its checkpoints/last.ckpt")
    content = load_checkpoint(path)
    if not set(content) >= _KEYS:
        raise CheckpointError(f"{path}: is no run's checkpoint; a run goes on from its checkpoints/last.ckpt")
    if "averaging_state" in content and not averaging:
        raise CheckpointError(
            f"{path}: is of a run that averages its weights; go on with its --ema (config.yaml says which)"
        )


def tell_differences(checkpoint: str, asked: Any, got: Any) -> None:
    """Lightning lets a checkpoint's settings of the model win over those asked for: not in silence.

    Args:
        checkpoint: for messages.
        asked: the model of the configuration, `class_path` and `init_args`.
        got: the same after the checkpoint's were put over it.

    Raises:
        CheckpointError: the checkpoint is of another class.
    """
    if _last_name(asked) != _last_name(got):
        raise CheckpointError(
            f"{checkpoint}: is of {_last_name(got)}, the configuration trains {_last_name(asked)}; give the "
            "--config of the run that it is from"
        )
    wanted, own = _flat(asked), _flat(got)
    changed = [f"{name} {own[name]} (not {wanted[name]})" for name in own if wanted.get(name) != own[name]]
    if changed:
        logger.warning("%s: goes on with its own settings: %s", checkpoint, ", ".join(changed))


def _last_name(model: Any) -> str:
    return str(model.class_path).rsplit(".", 1)[-1]


def _flat(model: Any) -> dict[str, Any]:
    return vars(model.init_args.as_flat())
