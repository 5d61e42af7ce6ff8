"""Stops training at the first loss or gradient that is no number, and keeps what is needed to see why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.model.checkpoint import write_safetensors
from safetrip_trainer.training.random_state import random_state

__all__ = ["BATCH", "BUFFERS", "RNG", "WEIGHTS", "NonFiniteGuard"]

# Prefixes of the tensors in a saved step.
BATCH, WEIGHTS, BUFFERS, RNG = "batch/", "weights/", "buffers/", "rng/"

_NAMES_SHOWN = 4


class NonFiniteGuard(Callback):
    """Raises before a NaN or infinity reaches the weights.

    The step is saved as safetensors in the run's folder: batch, its images' paths, weights, random state and
    settings. `trainer replay` computes it again. Under DDP all processes stop together; those with a bad loss
    save.

    Args:
        folder: the run's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.batch: dict[str, Any] = {}
        self.rng: dict[str, Tensor] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # The first process claimed it: the others know its name by now only.
        self.folder = trainer.strategy.broadcast(self.folder)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.batch = batch
        self.rng = random_state(pl_module.device)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._check(trainer, pl_module, "loss", loss.detach())

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return  # FP16's gradients overflow at times: the scaler leaves such a step out and scales down.
        gradients = [item.grad for item in pl_module.parameters() if item.grad is not None]
        self._check(trainer, pl_module, "gradient", torch.nn.utils.get_total_norm(gradients))

    def _check(self, trainer: L.Trainer, task: L.LightningModule, what: str, value: Tensor) -> None:
        bad = not bool(torch.isfinite(value))
        if not trainer.strategy.reduce_boolean_decision(bad, all=False):
            return
        step = f"step {trainer.global_step} (epoch {trainer.current_epoch})"
        if not bad:
            raise TrainerError(f"{step}: another process met a {what} that is no number; it says more")
        names, root = self._images(trainer)
        file = self._save(trainer, task, what, names, root)
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        raise TrainerError(
            f"{step}: the {what} is {float(value)}; stopped before it reached the weights. The batch "
            f"({shown}) is saved: `trainer replay {file}` says where it begins"
        )

    def _images(self, trainer: L.Trainer) -> tuple[list[str], str | None]:
        """The batch's image files, and the tree they are in; their samples' ids where it is unknown."""
        names = list(self.batch.get("name", ()))
        data = getattr(trainer, "datamodule", None)
        if data is None:
            return names, None
        files = {sample.id: sample.image for sample in data.index.samples}
        return [files.get(name, name) for name in names], str(data.index.root)

    def _save(
        self, trainer: L.Trainer, task: L.LightningModule, what: str, names: list[str], root: str | None
    ) -> Path:
        rank = f"-rank-{trainer.global_rank}" if trainer.world_size > 1 else ""
        file = self.folder / f"nonfinite-step-{trainer.global_step}{rank}.safetensors"
        weights = task.state_dict()
        tensors = {f"{BATCH}{key}": value for key, value in self.batch.items() if isinstance(value, Tensor)}
        tensors |= {f"{WEIGHTS}{key}": value for key, value in weights.items()}
        tensors |= {f"{BUFFERS}{k}": value for k, value in task.named_buffers() if k not in weights}
        tensors |= {f"{RNG}{key}": value for key, value in self.rng.items()}
        record = {
            "class": type(task).__name__,
            "hyper_parameters": dict(task.hparams),
            "names": names,
            "root": root,
            "cause": what,
            "seed": os.environ.get("PL_GLOBAL_SEED"),
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "precision": str(trainer.precision),
        }
        write_safetensors(file, tensors, record)
        return file
