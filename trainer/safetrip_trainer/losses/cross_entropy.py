"""Cross-entropy weighted by class, over labelled pixels; as it is, on the hardest pixels, or focal."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.losses.reduction import TaskLoss, mean_over_labels
from safetrip_trainer.model.preprocess import resize

__all__ = ["FocalCrossEntropy", "HardPixelCrossEntropy", "WeightedCrossEntropy"]


class _Pixels(NamedTuple):
    """The labelled pixels of a batch, one entry each."""

    nll: Tensor
    """`-log softmax(z)[y]`."""
    weight: Tensor
    """Weight of the pixel's class, times the confidence in its label."""


class WeightedCrossEntropy(nn.Module):
    """`sum_p w_p * -log softmax(z_p)[y_p] / sum_p w_p` over pixels p with y_p != 255.

    `w_p` is the weight of the class y_p, times the confidence in the label where one is given.

    Args:
        num_classes: how many classes there are.
        class_weights: (classes,) positive, or `None` for ones.
    """

    class_weights: Tensor

    def __init__(self, num_classes: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        weights = torch.ones(num_classes) if class_weights is None else class_weights.float()
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, confidence: Tensor | None = None) -> TaskLoss:
        """Scores one batch.

        Args:
            logits: (N, classes, h, w); brought to the labels' resolution bilinearly.
            labels: (N, H, W) int64, 255 where unlabelled.
            confidence: (N, H, W) in 0..1, how sure each label is; `None` takes all for sure.
        """
        logits = resize(logits.float(), (labels.shape[-2], labels.shape[-1]))
        labelled = labels != IGNORE
        nll = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")[labelled]
        weight = self.class_weights[labels[labelled]]
        if confidence is not None:
            weight = weight * confidence[labelled].to(weight.dtype)
        return self._reduce(_Pixels(nll, weight))

    def _reduce(self, pixels: _Pixels) -> TaskLoss:
        return mean_over_labels((pixels.weight * pixels.nll).sum(), pixels.weight.sum())


class HardPixelCrossEntropy(WeightedCrossEntropy):
    """Online hard example mining on pixels (Shrivastava et al., arXiv 1604.03540).

    Only pixels whose right class has a probability below `certain` count, and always the hardest `keep` of
    all labelled pixels. Each process of a distributed run picks among its own.

    Args:
        num_classes: how many classes there are.
        keep: share of the labelled pixels that counts at least, 0..1.
        certain: probability from which a pixel is easy.
    """

    def __init__(self, num_classes: int, keep: float = 0.25, certain: float = 0.7) -> None:
        super().__init__(num_classes)
        if not (0 < keep <= 1 and 0 < certain < 1):
            raise TrainerError(f"keep {keep} and certain {certain}: expected shares above 0, keep at most 1")
        self.keep = keep
        self.easy_nll = -math.log(certain)

    def _reduce(self, pixels: _Pixels) -> TaskLoss:
        if pixels.nll.numel():
            count = max(math.ceil(pixels.nll.numel() * self.keep), 1)
            smallest_kept = pixels.nll.detach().topk(count).values[-1].clamp(max=self.easy_nll)
            hard = (pixels.nll >= smallest_kept).to(pixels.weight.dtype)
            pixels = _Pixels(pixels.nll, pixels.weight * hard)
        return super()._reduce(pixels)


class FocalCrossEntropy(WeightedCrossEntropy):
    """`(1 - p)^gamma` in front of each pixel's term (Lin et al., arXiv 1708.02002, equation 5).

    Normalised by the class weights alone: easy batches give small losses.

    Args:
        num_classes: how many classes there are.
        gamma: 0 is plain cross-entropy.
    """

    def __init__(self, num_classes: int, gamma: float = 2.0) -> None:
        super().__init__(num_classes)
        if gamma < 0:
            raise TrainerError(f"gamma {gamma}: expected 0 or more")
        self.gamma = gamma

    def _reduce(self, pixels: _Pixels) -> TaskLoss:
        # 1 - exp(-nll) without cancellation; its power's slope at 0 is infinite for gamma < 1.
        factor = (-torch.expm1(-pixels.nll)).clamp(min=1e-6) ** self.gamma
        return mean_over_labels((pixels.weight * factor * pixels.nll).sum(), pixels.weight.sum())
