"""What is reported: segmentation and depth accuracy."""

from safetrip_trainer.metrics.depth import DepthMetrics
from safetrip_trainer.metrics.segmentation import SegmentationMetrics

__all__ = ["DepthMetrics", "SegmentationMetrics"]
