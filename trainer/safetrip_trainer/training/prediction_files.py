"""What `trainer predict` leaves: labels and depth of every validation sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter

from safetrip_trainer.inference.files import write_planes
from safetrip_trainer.training.task import Predicted

__all__ = ["PredictionFiles"]


class PredictionFiles(BasePredictionWriter):
    """Writes each batch as it comes, so that memory does not grow; every process writes its own samples.

    Args:
        folder: gets `SOURCE/FOLDER/SAMPLE_labels.png` and `_depth.png`, at the net's input size.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Predicted,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        labels = prediction.labels.byte().cpu().numpy()
        depth = None if prediction.depth is None else prediction.depth.float().cpu().numpy()
        for index, name in enumerate(batch["name"]):
            write_planes(self.folder, name, labels[index], None if depth is None else depth[index])

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            print(f"{self.folder}: labels and depth of the validation samples")
