"""What the nets are trained on: one loss per file, each over the pixels that have its label."""

from safetrip_trainer.losses.balance import FixedBalance, UncertaintyBalance
from safetrip_trainer.losses.berhu import InverseHuberLoss
from safetrip_trainer.losses.cross_entropy import (
    FocalCrossEntropy,
    HardPixelCrossEntropy,
    WeightedCrossEntropy,
)
from safetrip_trainer.losses.depth_gradient import DepthGradientLoss
from safetrip_trainer.losses.scale_invariant import ScaleInvariantLoss
from safetrip_trainer.losses.soft_target import SoftTargetLoss

__all__ = [
    "DepthGradientLoss",
    "FixedBalance",
    "FocalCrossEntropy",
    "HardPixelCrossEntropy",
    "InverseHuberLoss",
    "ScaleInvariantLoss",
    "SoftTargetLoss",
    "UncertaintyBalance",
    "WeightedCrossEntropy",
]
