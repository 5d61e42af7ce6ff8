"""Models from checkpoints of `trainer fit`, and from the safetensors that it leaves for others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import WeightsFile, load_weights, read_weights
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.model.teacher import SegformerTeacher
from safetrip_trainer.quantize.net import QuantizedNet

__all__ = ["build_student", "load_segmenter", "load_student", "net_settings"]


def net_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes a student, of a checkpoint's hyper-parameters; the defaults where they do not say."""
    return {
        "width_mult": settings.get("width_mult", 1.0),
        "decoder_channels": settings.get("decoder_channels", 256),
        "depth.head": (settings.get("depth") or {}).get("head", "sigmoid"),
    }


def build_student(settings: Mapping[str, Any]) -> HydraNet:
    """An untrained student as a checkpoint's hyper-parameters describe it."""
    shape = net_settings(settings)
    return HydraNet(
        width_mult=shape["width_mult"],
        decoder_channels=shape["decoder_channels"],
        depth_head=shape["depth.head"],
    )


def load_student(path: str | Path) -> tuple[HydraNet | QuantizedNet, dict[str, Any]]:
    """The student of a checkpoint, in evaluation mode, and what the checkpoint says of its training.

    A checkpoint of quantisation-aware training gives the net that rounds as its INT8 graph does.

    Args:
        path: a checkpoint of `trainer fit`, a file of weights in our names, or `random` for untrained
            weights (seed 0).

    Raises:
        CheckpointError: the file is missing, broken, or holds another model.
    """
    if str(path) == "random":
        torch.manual_seed(0)
        return HydraNet().eval(), {"label": "untrained weights, for benchmarks"}
    file = read_weights(Path(path))
    if "variant" in file.settings:
        raise CheckpointError(
            f"{path}: holds the teacher, which `trainer validate` measures; give a checkpoint of the student"
        )
    return _student(file), file.record


class _Logits(nn.Module):
    """The segmentation head's part of a student."""

    def __init__(self, net: HydraNet | QuantizedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(image).logits
        return logits


def load_segmenter(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Whoever can teach classes, teacher or student: (N, 3, h, w) to logits (N, classes, h/4, w/4).

    In evaluation mode; and what the file says of its training.

    Raises:
        CheckpointError: the file is missing, broken, or holds another model.
    """
    file = read_weights(Path(path))
    net = _teacher(file) if "variant" in file.settings else _Logits(_student(file)).eval()
    return net, file.record


def _student(file: WeightsFile) -> HydraNet | QuantizedNet:
    if QuantizedNet.is_in(file.state):
        return QuantizedNet.from_state(file.state).eval()
    net = build_student(file.settings)
    load_weights(net, file)
    return net.eval()


def _teacher(file: WeightsFile) -> SegformerTeacher:
    teacher = SegformerTeacher(file.settings["variant"], pretrained=False)
    load_weights(teacher, file)
    return teacher.eval()
