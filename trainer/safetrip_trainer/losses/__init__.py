"""What the nets are trained on: one loss per file, each over the pixels that have its label."""

from safetrip_trainer.losses.balance import FixedBalance, UncertaintyBalance
from safetrip_trainer.losses.berhu import InverseHuberLoss
from safetrip_trainer.losses.cross_entropy import WeightedCrossEntropy

__all__ = ["FixedBalance", "InverseHuberLoss", "UncertaintyBalance", "WeightedCrossEntropy"]
