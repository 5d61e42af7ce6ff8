"""Exponential moving average of the weights, with a warm-up."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from safetrip_trainer.errors import TrainerError

__all__ = ["WarmEMA"]


class WarmEMA(WeightAveraging):
    """Lightning's weight averaging with decay `min(decay, (1 + n) / (10 + n))` after n updates.

    Validation, `best.ckpt` and the weights at the end are the average's; `last.ckpt` holds both. A constant
    decay of 0.999 would remember the random start for thousands of steps; short runs have none to spare.

    Args:
        decay: the largest; 0.999 averages over about a thousand steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise TrainerError(f"ema {decay}: expected between 0 and 1")
        self.decay = decay
        super().__init__(avg_fn=self._average)

    def _average(self, averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        n = float(updates)
        decay = min(self.decay, (1 + n) / (10 + n))
        if not averaged.is_floating_point():  # BatchNorm's count of batches
            return current
        return averaged.lerp(current, 1 - decay)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":
            # The average was made of the net in float; a checkpoint in INT8 has brought another by now.
            super().setup(trainer, pl_module, "fit")
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
