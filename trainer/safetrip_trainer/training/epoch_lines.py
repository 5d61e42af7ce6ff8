"""One line an epoch for logs: a progress bar that is not in a terminal shows nothing until the end."""

from __future__ import annotations

import logging
import time

import lightning as L
from lightning.pytorch.callbacks import Callback

__all__ = ["EpochLines"]

logger = logging.getLogger(__name__)

_SHOWN = ("train/loss", "val/miou", "val/delta1")


class EpochLines(Callback):
    """Logs losses and validation figures as each epoch ends, on the first process."""

    def __init__(self) -> None:
        self._began = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        found = trainer.callback_metrics
        figures = [f"{name} {float(found[name]):.4g}" for name in _SHOWN if name in found]
        done = trainer.current_epoch + 1
        share = f"{done}" if trainer.max_epochs in (None, -1) else f"{done} of {trainer.max_epochs}"
        seconds = time.monotonic() - self._began
        # Counted from 0, as metrics.csv, the report and the progress bar count.
        line = "epoch %d (%s done): %s, %.0f s"
        logger.info(line, trainer.current_epoch, share, ", ".join(figures), seconds)
