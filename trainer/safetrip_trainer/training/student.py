"""Training of HydraNet on images of which none has all labels."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from safetrip_trainer.losses import FixedBalance, InverseHuberLoss, UncertaintyBalance
from safetrip_trainer.losses.reduction import TaskLoss
from safetrip_trainer.metrics import DepthMetrics
from safetrip_trainer.model.hydranet import MAX_DEPTH, HydraNet, HydraOutput
from safetrip_trainer.model.initialize import initialize_encoder
from safetrip_trainer.model.preprocess import resize
from safetrip_trainer.training.task import Task

__all__ = ["HydraTask"]


class HydraTask(Task):
    """The student: segmentation and depth together.

    Args:
        width_mult: width multiplier of the MobileNet-v2 encoder.
        decoder_channels: width of the decoder.
        init_weights: `auto` (ImageNet weights where the network is there), `random`, or a file of
            torchvision's mobilenet_v2.
        lr: peak learning rate.
        weight_decay: AdamW's.
        warmup_epochs: length of the linear warm-up.
        balance: `fixed` weights, or `uncertainty` (Kendall et al. 2018).
        segmentation_weight: of the fixed balance.
        depth_weight: of the fixed balance.
        berhu_threshold: where inverse Huber turns quadratic, on normalised depth.
    """

    def __init__(
        self,
        width_mult: float = 1.0,
        decoder_channels: int = 256,
        init_weights: str = "auto",
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 5,
        balance: Literal["fixed", "uncertainty"] = "fixed",
        segmentation_weight: float = 0.5,
        depth_weight: float = 0.5,
        berhu_threshold: float = 0.1,
    ) -> None:
        net = HydraNet(width_mult=width_mult, decoder_channels=decoder_channels)
        super().__init__(net, lr, weight_decay, warmup_epochs)
        self.save_hyperparameters()
        self.init_weights = init_weights
        self.depth_loss = InverseHuberLoss(berhu_threshold, MAX_DEPTH)
        self.depth_metrics = DepthMetrics(MAX_DEPTH)
        self.balance: FixedBalance | UncertaintyBalance
        if balance == "fixed":
            self.balance = FixedBalance({"segmentation": segmentation_weight, "depth": depth_weight})
        else:
            self.balance = UncertaintyBalance(("segmentation", "depth"))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        resuming = bool(self.trainer.ckpt_path) or self.global_step > 0
        if stage == "fit" and not resuming:
            assert isinstance(self.net, HydraNet)
            initialize_encoder(self.net.encoder, self.init_weights)

    def losses(self, batch: dict[str, Any]) -> dict[str, TaskLoss]:
        """Each task's loss over the pixels that have its label, be there any or none."""
        output: HydraOutput = self(batch["image"])
        return {
            "segmentation": self.segmentation_loss(output.logits, batch["labels"]),
            "depth": self.depth_loss(output.depth, batch["depth"]),
        }

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total: Tensor = self.balance(losses)
        size = batch["image"].shape[0]
        self.log("train/loss", total, prog_bar=True, on_step=False, on_epoch=True, batch_size=size)
        for task, loss in losses.items():
            self.log(f"train/{task}_loss", loss.value, on_step=False, on_epoch=True, batch_size=size)
        return total

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        output: HydraOutput = self(batch["image"])
        size = batch["labels"].shape[-2:]
        self.segmentation_metrics.update(self.labels_of(output.logits, size), batch["labels"])
        depth = resize(output.depth.float(), size)
        self.depth_metrics.update(depth.squeeze(1) * MAX_DEPTH, batch["depth"])

    def on_validation_epoch_end(self) -> None:
        segmentation, depth = self.log_segmentation(), self.depth_metrics.compute()
        self.depth_metrics.reset()
        for name in ("rmse", "mae", "abs_rel", "delta1"):
            if depth[name] is not None:
                self.log(f"val/{name}", depth[name], prog_bar=name == "delta1")
        # The best checkpoint is best at what the data can tell: the mean of the tasks that have labels.
        scores = [score for score in (segmentation["miou"], depth["delta1"]) if score is not None]
        self.log("val/score", sum(scores) / len(scores) if scores else 0.0)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
