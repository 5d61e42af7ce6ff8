"""The start of quantisation-aware training: a trained student's weights and its calibrated scales."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetrip_calibration.ranges import Progress
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.predictor import training_size
from safetrip_trainer.model.checkpoint import WeightsFile
from safetrip_trainer.model.load import load_student, net_settings
from safetrip_trainer.quantize import QuantizedNet, quantize_student
from safetrip_trainer.training.resume import tell_differences
from safetrip_trainer.training.student import HydraTask
from safetrip_trainer.training.task import Task

__all__ = ["adopt_net", "start_quantizing"]

logger = logging.getLogger(__name__)


def adopt_net(model: Any, file: WeightsFile) -> None:
    """Makes the task of a configuration that of a checkpoint's net, whatever else it is to be trained by.

    Args:
        model: the configuration's `class_path` and `init_args`; changed, and what changes is named.
        file: of a student in float.

    Raises:
        TrainerError: the net's parts are to learn at rates of their own.
    """
    asked = model.clone()
    for name, value in net_settings(file.settings).items():
        if name in model.init_args:
            model.init_args[name] = value
    tell_differences(str(file.path), asked, model)
    factor = model.init_args.get("encoder_lr_factor", 1.0)
    if factor != 1.0:
        raise TrainerError(
            f"--model.init_args.encoder_lr_factor {factor}: an INT8 net is trained as one graph, at one "
            "rate: leave it at 1"
        )


def start_quantizing(
    task: Task, checkpoint: Path, data: SafetripDataModule, method: str, progress: Progress | None = None
) -> None:
    """Puts the checkpoint's student, calibrated on the training images, in the place of the task's net.

    Args:
        task: of the student.
        checkpoint: of a student in float.
        data: its training images are calibrated on, at its size.
        method: of `trainer calibrate`.
        progress: called with (done, total, what).

    Raises:
        TrainerError: the task trains a teacher.
        CheckpointError: the file holds no student.
        CalibrationError, FramesError: it cannot be calibrated.
    """
    if not isinstance(task, HydraTask):
        raise TrainerError("--quantize int8 is for the student: take configs/quantize.yaml")
    net, record = load_student(checkpoint)
    assert not isinstance(net, QuantizedNet)
    trained_at = training_size(record)
    if trained_at != data.size:
        logger.warning(
            "%s was trained at %dx%d, and is quantised for %dx%d (--data.size)",
            checkpoint, *trained_at, *data.size,
        )  # fmt: skip
    data.prepare_data()
    task.quantize(
        quantize_student(
            net, data.size, PreparedFrames(data.index, "train"), method=method, progress=progress
        )
    )
    task.start = f"{checkpoint.name}, calibrated to INT8 ({method})"
    logger.info("%s: quantised; its rounding is trained from here", checkpoint)
