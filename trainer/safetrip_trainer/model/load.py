"""Models from checkpoints of `trainer fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import load_checkpoint, load_weights
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.model.teacher import SegformerTeacher

__all__ = ["load_student", "load_teacher"]


def load_student(path: str | Path) -> tuple[HydraNet, dict[str, Any]]:
    """The student of a checkpoint, in evaluation mode, and what the checkpoint says of its training.

    Args:
        path: a checkpoint of `trainer fit`, a file of weights in our names, or `random` for untrained
            weights (seed 0).

    Raises:
        CheckpointError: the file is missing, broken, or holds another model.
    """
    if str(path) == "random":
        torch.manual_seed(0)
        return HydraNet().eval(), {"label": "untrained weights, for benchmarks"}
    file = Path(path)
    record = _record(file)
    settings = record.get("hyper_parameters", {})
    if "variant" in settings:
        raise CheckpointError(f"{file}: holds the teacher; give a checkpoint of the student (HydraTask)")
    net = HydraNet(
        width_mult=settings.get("width_mult", 1.0), decoder_channels=settings.get("decoder_channels", 256)
    )
    load_weights(net, file)
    return net.eval(), record


def load_teacher(path: str | Path) -> SegformerTeacher:
    """The teacher of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, broken, or holds another model.
    """
    file = Path(path)
    variant = _record(file).get("hyper_parameters", {}).get("variant")
    if variant is None:
        raise CheckpointError(f"{file}: holds no teacher; train one with configs/teacher.yaml")
    teacher = SegformerTeacher(variant, pretrained=False)
    load_weights(teacher, file)
    return teacher.eval()


def _record(file: Path) -> dict[str, Any]:
    """Everything but the tensors."""
    if file.suffix == ".safetensors":
        return {}
    content = load_checkpoint(file)
    keys = ("hyper_parameters", "datamodule_hyper_parameters", "epoch", "global_step", "provenance")
    return {key: content[key] for key in keys if key in content}
