"""What student and teacher share as Lightning modules: optimizer, schedule and segmentation metrics."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.losses import WeightedCrossEntropy
from safetrip_trainer.metrics import SegmentationMetrics
from safetrip_trainer.model.preprocess import resize
from safetrip_trainer.settings import require_above, require_within
from safetrip_trainer.training.provenance import provenance
from safetrip_trainer.training.random_state import random_state, set_random_state
from safetrip_trainer.training.schedule import warmup_cosine

__all__ = ["Predicted", "Task"]

logger = logging.getLogger(__name__)


class Predicted(NamedTuple):
    """A batch's predictions: (N, h, w) int64 class ids, and float32 metres of a net that says depth."""

    labels: Tensor
    depth: Tensor | None


class Task(L.LightningModule):
    """AdamW with warm-up and cosine decay, weighted cross-entropy, validation mIoU.

    Args:
        net: what is trained.
        lr: peak learning rate.
        weight_decay: AdamW's, on every parameter.
        warmup_epochs: length of the linear warm-up.
        segmentation_loss: over labelled pixels.
    """

    def __init__(
        self,
        net: nn.Module,
        lr: float,
        weight_decay: float,
        warmup_epochs: float,
        segmentation_loss: WeightedCrossEntropy,
    ) -> None:
        super().__init__()
        require_above("model.init_args.lr", lr)
        require_within("model.init_args.weight_decay", weight_decay)
        require_within("model.init_args.warmup_epochs", warmup_epochs)
        # Convolutions run two to three times as fast in this layout, on CPUs and on tensor cores.
        self.net = net.to(memory_format=torch.channels_last)
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.run_config: str | None = None
        """The run's whole configuration as YAML, where a command set it up; goes into its checkpoints."""
        self.start: str | None = None
        """Where the first weights came from, in words; None where a checkpoint of the run brought its own."""
        self._before: dict[str, Any] | None = None
        self._resumed_state: dict[str, Tensor] | None = None
        self.segmentation_loss = segmentation_loss
        self.segmentation_metrics = SegmentationMetrics()

    def setup(self, stage: str) -> None:
        """Takes the class weights that `trainer prepare` counted."""
        data = self._data()
        if data is not None:
            weights = torch.from_numpy(data.index.class_weights.copy())
            self.segmentation_loss.class_weights.copy_(weights)

    def _data(self) -> SafetripDataModule | None:
        return getattr(self.trainer, "datamodule", None)

    @property
    def goes_on(self) -> bool:
        """Whether a checkpoint of this run was loaded; known from `on_fit_start` on."""
        return self._before is not None

    def on_fit_start(self) -> None:
        data, before = self._data(), (self._before or {}).get("data_hash")
        if data is not None and before not in (None, data.index.data_hash):
            logger.warning(
                "%s has changed since the checkpoint was written: data_hash %.12s, %.12s before",
                data.prepared_folder,
                data.index.data_hash,
                before,
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_state"] = random_state(self.device)
        checkpoint["config"] = self.run_config
        checkpoint["provenance"] = provenance(self._data(), self.start, self._before or {})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._before = checkpoint.get("provenance") or {}
        self._resumed_state = checkpoint.get("random_state")

    def on_train_start(self) -> None:
        # Lightning gives a resumed loader its place only where nobody asked for the number of steps before,
        # and the schedule did (configure_optimizers).
        self.trainer.fit_loop._load_combined_loader_states()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Not earlier: what Lightning sets up on resuming draws random numbers, too.
        if self._resumed_state is not None:
            set_random_state(self._resumed_state, self.device)
            self._resumed_state = None

    def forward(self, image: Tensor) -> Any:
        """(N, 3, h, w), normalised RGB, to what the net returns."""
        return self.net(image.contiguous(memory_format=torch.channels_last))

    def labels_of(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, classes, h/4, w/4) logits to (N, H, W) class ids, as the deploy graph does."""
        return resize(logits.float(), size).argmax(dim=1)

    def log_segmentation(self) -> dict[str, Any]:
        """Logs the epoch's segmentation figures and starts the next epoch's."""
        summary = self.segmentation_metrics.summary()
        self.segmentation_metrics.reset()
        for name in ("miou", "pixel_accuracy", "mean_class_accuracy"):
            if summary[name] is not None:
                self.log(f"val/{name}", summary[name], prog_bar=name == "miou", sync_dist=False)
        for name, iou in summary["class_iou"].items():
            self.log(f"val/iou/{name}", iou, sync_dist=False)
        return summary

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The batch's losses by name; `total` is what is minimised."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total, size = losses.pop("total"), batch["image"].shape[0]
        # A process has its share of the sum over the global batch: the mean over processes is the loss.
        shown: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": size, "sync_dist": True}
        self.log("train/loss", total, prog_bar=True, **shown)
        for name, value in losses.items():
            self.log(f"train/{name}_loss", value, **shown)
        return total

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What AdamW takes: groups that may have a peak rate of their own."""
        return [{"params": list(self.parameters())}]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=self.lr, weight_decay=self.weight_decay)
        scheduler = warmup_cosine(optimizer, *self._steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps(self) -> tuple[int, int]:
        """The optimizer's steps: of the whole run, and of its warm-up."""
        trainer = self.trainer
        if trainer.limit_train_batches == 0:
            return 0, 0
        steps = trainer.estimated_stepping_batches
        if steps == math.inf:
            raise TrainerError(
                "the learning rate falls until the run ends: give --trainer.max_epochs or --trainer.max_steps"
            )
        # Not yet done where only steps limit the run.
        trainer.fit_loop.setup_data()
        an_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        return int(steps), round(an_epoch * self.warmup_epochs)
