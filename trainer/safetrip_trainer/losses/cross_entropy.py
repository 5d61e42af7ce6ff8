"""Cross-entropy weighted by class, over labelled pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.model.preprocess import resize

__all__ = ["WeightedCrossEntropy"]


class WeightedCrossEntropy(nn.Module):
    """`sum_p w[y_p] * -log softmax(z_p)[y_p] / sum_p w[y_p]` over pixels p with y_p != 255.

    Args:
        class_weights: (classes,) positive, or `None` for ones.
        num_classes: how many classes there are.
    """

    class_weights: Tensor

    def __init__(self, num_classes: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        weights = torch.ones(num_classes) if class_weights is None else class_weights.float()
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> TaskLoss:
        """Scores one batch.

        Args:
            logits: (N, classes, h, w); brought to the labels' resolution bilinearly.
            labels: (N, H, W) int64, 255 where unlabelled.
        """
        logits = resize(logits.float(), (labels.shape[-2], labels.shape[-1]))
        total = F.cross_entropy(
            logits, labels, weight=self.class_weights, ignore_index=IGNORE, reduction="sum"
        )
        labelled = labels[labels != IGNORE]
        return mean_over_labels(total, self.class_weights[labelled].sum())
