"""What the student says of a few validation frames, every few epochs: as files and in the loggers."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from safetrip_calibration.frames import LabelledFrame
from safetrip_sdk.errors import SafetripError
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.inference.overlays import OverlayWriter
from safetrip_trainer.inference.predictor import TorchPredictor
from safetrip_trainer.training.student import HydraTask

__all__ = ["PredictionPictures"]

logger = logging.getLogger(__name__)


class PredictionPictures(Callback):
    """Evenly spaced validation frames, prediction beside truth, in RUN/predictions/epoch-N and the loggers.

    They show what validation reads, tree or cache; a frame that cannot be read is left out. The first process
    draws; a teacher, which says no depth, is not drawn.

    Args:
        folder: the run's own.
        every: epochs between pictures; the last epoch is always drawn.
        count: frames.
    """

    def __init__(self, folder: Path, every: int = 5, count: int = 4) -> None:
        self.folder = folder
        self.every = every
        self.count = count

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every == 0 or epoch == trainer.max_epochs
        if trainer.sanity_checking or not trainer.is_global_zero or not due:
            return
        if isinstance(pl_module, HydraTask):
            folder = self.folder / "predictions" / f"epoch-{epoch - 1:04d}"
            self._draw(trainer, pl_module, folder)
            self._log(trainer, folder)

    def _draw(self, trainer: L.Trainer, task: HydraTask, folder: Path) -> None:
        loader = trainer.val_dataloaders
        assert loader is not None
        dataset: SafetripDataset = loader.dataset
        size: tuple[int, int] = getattr(trainer, "datamodule").size  # noqa: B009 (Lightning adds it undeclared)
        predictor = TorchPredictor(DeployGraph(task.net, size), task.device)
        writer = OverlayWriter(folder, self.count, len(dataset))
        for position in sorted(writer.chosen):
            try:
                item = _frame(dataset, position)
            except SafetripError as error:
                logger.warning("%s; not drawn", error)
                continue
            writer(position, item, predictor(item.frame))

    def _log(self, trainer: L.Trainer, folder: Path) -> None:
        for picture in sorted(folder.glob("*.png")):
            image = cv2.imread(str(picture))
            if image is None:
                continue
            image = image[..., ::-1].copy()
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    title = f"predictions/{picture.stem}"
                    logger.experiment.add_image(title, image, trainer.global_step, dataformats="HWC")
                elif isinstance(logger, WandbLogger):
                    logger.log_image(f"predictions/{picture.stem}", [image])


def _frame(dataset: SafetripDataset, position: int) -> LabelledFrame:
    sample = dataset.samples[position]
    planes = dataset.source.read(sample, dataset.min_confidence)
    return LabelledFrame(sample.id, planes.bgr, sample.source, planes.labels, planes.depth)
