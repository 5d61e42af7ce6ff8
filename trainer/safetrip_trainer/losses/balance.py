"""How the tasks' losses become one: fixed weights, or weights learnt from the tasks' uncertainty."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from safetrip_trainer.losses.reduction import TaskLoss

__all__ = ["FixedBalance", "UncertaintyBalance"]


class FixedBalance(nn.Module):
    """`sum_i w_i L_i`.

    Args:
        weights: weight by task.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, TaskLoss]) -> Tensor:
        return torch.stack([self.weights[task] * loss.value for task, loss in losses.items()]).sum()


class UncertaintyBalance(nn.Module):
    """`sum_i exp(-s_i) L_i / 2 + s_i / 2`, `s_i = log sigma_i^2` learnt (Kendall et al., arXiv 1705.07115).

    A task without a label in the batch adds nothing, its `s_i / 2` included: otherwise such batches would
    push its uncertainty down without evidence.

    Args:
        tasks: names of the tasks.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: Mapping[str, TaskLoss]) -> Tensor:
        terms = []
        for task, loss in losses.items():
            s = self.log_variance[task]
            terms.append((torch.exp(-s) * loss.value + s) / 2 * loss.present)
        return torch.stack(terms).sum()
