"""What a comparison says of one runner: accumulated over frames, then turned into figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetrip_calibration.accuracy import DepthError, LabelOverlap, to_size
from safetrip_calibration.frames import LabelledFrame
from safetrip_calibration.not_finite import NotFinite
from safetrip_sdk.manifest import Manifest

__all__ = ["Outputs", "Score", "score_metrics"]

Outputs = Mapping[str, NDArray[Any]]


class Score:
    """Sums of one runner's outputs over the frames: against truth, and against a reference runner's."""

    def __init__(self, manifest: Manifest) -> None:
        classes, deepest = len(manifest.classes), manifest.max_depth
        self.truth = LabelOverlap(classes)
        self.to_fp32 = LabelOverlap(classes)
        self.depth = DepthError(max_depth=deepest)
        self.depth_to_fp32 = DepthError(max_depth=math.inf)
        self.not_finite = NotFinite()
        self.worst = ("", 2.0)
        self.worst_depth: tuple[str, float] | None = None

    def update(self, item: LabelledFrame, outputs: Outputs, reference: Outputs) -> None:
        """Add one frame; outputs by name: `labels` (1, h, w) and `depth` (1, h, w)."""
        labels, depth = outputs["labels"][0], outputs["depth"][0]
        size = (labels.shape[0], labels.shape[1])
        agreement = self.to_fp32.update(labels, reference["labels"][0])
        if agreement < self.worst[1]:
            self.worst = (item.name, agreement)
        self.not_finite.update(item.name, depth)
        self.depth_to_fp32.update(depth, reference["depth"][0])
        frame_error = DepthError(max_depth=math.inf)
        frame_error.update(depth, reference["depth"][0])
        error = frame_error.abs_rel
        if error is not None and (self.worst_depth is None or error > self.worst_depth[1]):
            self.worst_depth = (item.name, error)
        if item.labels is not None:
            self.truth.update(labels, to_size(item.labels, size).astype(np.uint8))
        if item.depth is not None:
            self.depth.update(depth, to_size(item.depth, size).astype(np.float32))


def score_metrics(score: Score, reference: Score, names: Sequence[str], min_share: float) -> dict[str, Any]:
    """Figures of one candidate, all finite; `None` where the frames have no truth for one, or no pixel of the
    predicted depth is a number. Points are hundredths.
    """
    name, error = score.worst_depth or ("", None)
    metrics: dict[str, Any] = {
        "depth_not_finite": score.not_finite.found,
        "reference_not_finite": reference.not_finite.found if reference is not score else None,
        "label_agreement": score.to_fp32.agreement,
        "miou_to_fp32": score.to_fp32.miou,
        "depth_error_to_fp32": score.depth_to_fp32.abs_rel,
        "worst_frame": {"name": score.worst[0], "label_agreement": score.worst[1]},
        "worst_depth_frame": {"name": name, "depth_error_to_fp32": error},
        "miou": score.truth.miou,
        "depth_abs_rel": score.depth.abs_rel,
        "depth_rmse": score.depth.rmse,
        "delta1": score.depth.delta1,
        "miou_drop": _drop(reference.truth.miou, score.truth.miou),
        "delta1_drop": _drop(reference.depth.delta1, score.depth.delta1),
        "depth_abs_rel_rise": None,
        **_class_metrics(score, reference, names, min_share),
    }
    if score.depth.abs_rel is not None and reference.depth.abs_rel:
        metrics["depth_abs_rel_rise"] = 100.0 * (score.depth.abs_rel / reference.depth.abs_rel - 1.0)
    return metrics


def _class_metrics(score: Score, reference: Score, names: Sequence[str], min_share: float) -> dict[str, Any]:
    iou, before = score.truth.iou(), reference.truth.iou()
    drops = 100.0 * (before - iou)
    judged = (reference.truth.shares() >= min_share) & ~np.isnan(drops)
    result: dict[str, Any] = {
        "class_iou": {name: float(value) for name, value in zip(names, iou) if not np.isnan(value)},
        "class_iou_change": {name: float(-value) for name, value in zip(names, drops) if not np.isnan(value)},
        "class_iou_drop": None,
        "worst_class": None,
    }
    if judged.any():
        worst = int(np.where(judged, drops, -np.inf).argmax())
        result.update(class_iou_drop=float(drops[worst]), worst_class=names[worst])
    return result


def _drop(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else 100.0 * (before - now)
