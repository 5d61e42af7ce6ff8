"""Distillation by soft targets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.model.preprocess import resize

__all__ = ["SoftTargetLoss"]


class SoftTargetLoss(nn.Module):
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, mean over pixels (Hinton, arXiv 1503.02531).

    T^2 keeps the gradients' size independent of T (section 2 there). Every pixel of every image counts: the
    teacher has an opinion where annotators have none.

    Args:
        temperature: T; larger values make more of the teacher's second choices.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise TrainerError(f"temperature {temperature}: expected more than 0")
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher: Tensor) -> TaskLoss:
        """Scores one batch.

        Args:
            logits: (N, classes, h, w) of the student.
            teacher: (N, classes, h', w'), without gradient; brought to the student's resolution bilinearly.
        """
        teacher = resize(teacher.float(), (logits.shape[-2], logits.shape[-1])) / self.temperature
        divergence = F.kl_div(
            F.log_softmax(logits.float() / self.temperature, dim=1),
            F.log_softmax(teacher, dim=1),
            reduction="none",
            log_target=True,
        ).sum(1)
        pixels = divergence.new_tensor(float(divergence.numel()))
        return mean_over_labels(divergence.sum() * self.temperature**2, pixels)
