"""Accuracy figures as text."""

from __future__ import annotations

from typing import Any

__all__ = ["accuracy_table"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:6.2f} %"


def _metres(value: float | None) -> str:
    return "-" if value is None else f"{value:6.3f} m"


def accuracy_table(result: dict[str, Any]) -> str:
    """What `evaluate` returned, readable in a terminal."""
    segmentation, depth = result["segmentation"], result["depth"]
    lines = [
        f"{result['frames']} frames, {segmentation['labelled_pixels']:,} labelled pixels, "
        f"{depth['valid_pixels']:,} with depth",
        f"  mIoU                 {_percent(segmentation['miou'])}   "
        f"(majority class everywhere: {_percent(segmentation['majority_miou']).strip()})",
        f"  pixel accuracy       {_percent(segmentation['pixel_accuracy'])}",
        f"  mean class accuracy  {_percent(segmentation['mean_class_accuracy'])}",
    ]
    lines += [f"    {name:<26} {_percent(iou)}" for name, iou in segmentation["class_iou"].items()]
    lines += [
        f"  RMSE                 {_metres(depth['rmse'])}",
        f"  MAE                  {_metres(depth['mae'])}",
        f"  AbsRel               {_percent(depth['abs_rel'])}",
        f"  SqRel                {_metres(depth['sq_rel'])}",
        f"  delta < 1.25         {_percent(depth['delta1'])}   "
        f"(mean depth everywhere: {_percent(depth['mean_depth_delta1']).strip()})",
        f"  delta < 1.25^2       {_percent(depth['delta2'])}",
        f"  delta < 1.25^3       {_percent(depth['delta3'])}",
    ]
    return "\n".join(lines)
