"""What can be chosen in the student's training, in groups; every default is the plain recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DepthOptions", "DistillOptions", "SegmentationOptions"]


@dataclass(frozen=True)
class SegmentationOptions:
    """How pixels of annotated classes count."""

    loss: Literal["cross_entropy", "ohem", "focal"] = "cross_entropy"
    """`cross_entropy` over all labelled pixels, `ohem` over the hardest, or `focal`."""
    ohem_keep: float = 0.25
    """Share of the labelled pixels that count at least, with `ohem`."""
    focal_gamma: float = 2.0
    """Exponent of `focal`."""


@dataclass(frozen=True)
class DepthOptions:
    """How distances are said and judged."""

    head: Literal["sigmoid", "log"] = "sigmoid"
    """`sigmoid`: linear in depth; `log`: linear in its logarithm, inverse Huber included."""
    silog_weight: float = 0.0
    """Weight of the scale-invariant error of log depth (Eigen et al. 2014)."""
    silog_share: float = 0.5
    """How far it forgives an image's overall scale, 0 to 1."""
    gradient_weight: float = 0.0
    """Weight of gradient matching (Li and Snavely 2018)."""


@dataclass(frozen=True)
class DistillOptions:
    """Soft targets of a teacher, computed on the very pixels that the student sees."""

    teacher_ckpt: str | None = None
    """Checkpoint of a teacher or of another student; none: no distillation."""
    temperature: float = 2.0
    """Of both softmaxes."""
    weight: float = 0.5
    """Of the divergence, beside the tasks' balance."""
