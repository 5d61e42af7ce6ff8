"""The start of quantisation-aware training: a trained student's weights and its calibrated scales."""

from __future__ import annotations

import logging
from pathlib import Path

from safetrip_calibration.ranges import Progress
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.predictor import training_size
from safetrip_trainer.model.checkpoint import read_weights
from safetrip_trainer.model.load import load_student
from safetrip_trainer.quantize import QuantizedNet, quantize_student
from safetrip_trainer.training.student import HydraTask
from safetrip_trainer.training.task import Task

__all__ = ["is_quantized", "start_quantizing"]

logger = logging.getLogger(__name__)


def is_quantized(checkpoint: Path) -> bool:
    """Whether the checkpoint is of quantisation-aware training.

    Raises:
        CheckpointError: it cannot be read.
    """
    return QuantizedNet.is_in(read_weights(checkpoint).state)


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
    logger.info("%s: quantised; its rounding is trained from here", checkpoint)
