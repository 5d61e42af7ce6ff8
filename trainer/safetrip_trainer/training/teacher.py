"""Training of the SegFormer teacher on the images that have class labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from safetrip_trainer.classes import NUM_CLASSES
from safetrip_trainer.losses import WeightedCrossEntropy
from safetrip_trainer.model.teacher import SegformerTeacher
from safetrip_trainer.training.task import Predicted, Task

__all__ = ["TeacherTask"]


class TeacherTask(Task):
    """The teacher: segmentation only; train it on `surface` and `polygon` samples (configs/teacher.yaml).

    Args:
        variant: SegFormer's size, `mit-b0` to `mit-b5`.
        pretrained: start from ImageNet weights where the model hub is reachable.
        lr: peak learning rate.
        weight_decay: AdamW's.
        warmup_epochs: length of the linear warm-up.
    """

    def __init__(
        self,
        variant: str = "mit-b2",
        pretrained: bool = True,
        lr: float = 6e-5,
        weight_decay: float = 0.01,
        warmup_epochs: float = 2,
    ) -> None:
        net, loss = SegformerTeacher(variant, pretrained), WeightedCrossEntropy(NUM_CLASSES)
        super().__init__(net, lr, weight_decay, warmup_epochs, loss)
        self.save_hyperparameters()
        self.start = net.origin

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> TeacherTask:
        """The task that a checkpoint's hyper-parameters describe, with random weights."""
        plain = {key: value for key, value in settings.items() if not key.startswith("_")}
        return cls(**{**plain, "pretrained": False})

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Cross-entropy over the labelled pixels, as `total`."""
        logits = self(batch["image"])
        return {"total": self.segmentation_loss(logits, batch["labels"], batch.get("confidence")).value}

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self.segmentation_metrics.update(self.predict_step(batch, batch_index).labels, batch["labels"])

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> Predicted:
        """A batch's labels; a teacher says no depth."""
        return Predicted(self.labels_of(self(batch["image"]), batch["labels"].shape[-2:]), None)

    def on_validation_epoch_end(self) -> None:
        self.log("val/score", self.log_segmentation()["miou"] or 0.0)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
