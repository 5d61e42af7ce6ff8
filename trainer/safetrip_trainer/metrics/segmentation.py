"""Segmentation accuracy from one confusion matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from safetrip_trainer.classes import CLASS_NAMES, IGNORE, NUM_CLASSES

__all__ = ["SegmentationMetrics"]


class SegmentationMetrics(MulticlassConfusionMatrix):
    """Feeds on labels (N, H, W), 255 ignored; `summary` turns the confusion matrix into figures."""

    def __init__(self) -> None:
        super().__init__(num_classes=NUM_CLASSES, ignore_index=IGNORE)

    def summary(self) -> dict[str, Any]:
        """mIoU over the classes that occur in the ground truth, per-class IoU, pixel and mean class accuracy.

        All are fractions; `None` where nothing was labelled. `majority_miou` is what predicting the most
        frequent class everywhere would score: the floor that a trained net has to leave behind.
        """
        confusion: Tensor = self.compute().double()
        truth, predicted, hit = confusion.sum(1), confusion.sum(0), confusion.diagonal()
        occurs = truth > 0
        if not bool(occurs.any()):
            return {
                "miou": None,
                "pixel_accuracy": None,
                "mean_class_accuracy": None,
                "majority_miou": None,
                "class_iou": {},
                "labelled_pixels": 0,
            }
        iou = hit / (truth + predicted - hit).clamp(min=1)
        total = truth.sum()
        return {
            "miou": float(iou[occurs].mean()),
            "pixel_accuracy": float(hit.sum() / total),
            "mean_class_accuracy": float((hit[occurs] / truth[occurs]).mean()),
            "majority_miou": float(truth.max() / total / occurs.sum()),
            "class_iou": {CLASS_NAMES[i]: float(iou[i]) for i in torch.nonzero(occurs).flatten().tolist()},
            "labelled_pixels": int(total),
        }
