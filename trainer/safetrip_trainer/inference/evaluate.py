"""Accuracy of a predictor on a prepared split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from tqdm import tqdm

from safetrip_calibration.frames import FrameSet, LabelledFrame
from safetrip_sdk.prediction import Prediction
from safetrip_trainer.data.sampler import ShardSampler
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.predictor import Predictor
from safetrip_trainer.metrics import DepthMetrics, SegmentationMetrics
from safetrip_trainer.model.hydranet import MAX_DEPTH

__all__ = ["evaluate"]

# Centimetres up to the maximum depth: fine enough for the share of pixels within 25 % of a constant.
_DEPTH_BINS = int(MAX_DEPTH * 100)


class _MeanDepthBaseline(Metric):
    """What predicting the split's own mean depth at every pixel would score."""

    full_state_update = False
    histogram: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("histogram", default=torch.zeros(_DEPTH_BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, truth: Tensor) -> None:
        """Adds metres, 0 where there is no measurement."""
        valid = truth[(truth > 0) & (truth < MAX_DEPTH)].double()
        self.histogram += torch.bincount((valid * 100).long(), minlength=_DEPTH_BINS)[:_DEPTH_BINS]

    def compute(self) -> float | None:
        """The share of pixels within 25 % of the mean; `None` without any."""
        histogram = self.histogram.cpu().numpy()
        pixels = int(histogram.sum())
        if pixels == 0:
            return None
        centres = (np.arange(_DEPTH_BINS) + 0.5) / 100
        mean = float((histogram * centres).sum() / pixels)
        close = np.maximum(centres / mean, mean / centres) < 1.25
        return float(histogram[close].sum() / pixels)


def _to_size(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized: np.ndarray = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def _require_finite(prediction: Prediction, name: str) -> None:
    """Labels of such a net mean as little, although they look like any: the argmax of NaN is a class."""
    count = int(np.count_nonzero(~np.isfinite(prediction.depth)))
    if count:
        raise TrainerError(
            f"{name}: depth is not finite at {count} of {prediction.depth.size} pixels: damaged weights, or "
            "a training that diverged; take an earlier checkpoint"
        )


def evaluate(
    predictor: Predictor,
    frames: FrameSet,
    on_frame: Callable[[int, LabelledFrame, Prediction], None] | None = None,
    rank: int = 0,
    processes: int = 1,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Runs the predictor on every frame and scores it where there are labels.

    Several processes take every n-th frame each; where torch's process group is up, the sums of all (the
    confusion matrix, the errors, the counts) come together before any figure is made of them.

    Truth is brought to the prediction's size by the nearest pixel; depth counts in metres over measured
    pixels up to 80 m.

    Args:
        predictor: of `open_predictor`.
        frames: with truth, read one at a time.
        on_frame: called with each of this process's frames, its place in `frames` first (overlays, tables).
        rank: of this process.
        processes: how many there are.
        device: on which the sums are kept: the one over which processes talk; the CPU by default.

    Returns:
        `segmentation` and `depth`, as the metrics' summaries, `frames`, and under `depth` the floor
        `mean_depth_delta1` that predicting the mean would reach. None stands for what there was no truth for.

    Raises:
        TrainerError: the predictor gives depth that is not finite; names the frame.
    """
    device = device or torch.device("cpu")
    segmentation, depth = SegmentationMetrics().to(device), DepthMetrics(MAX_DEPTH).to(device)
    baseline = _MeanDepthBaseline().to(device)
    # No frame may have truth of a kind: with no pixels added the figures are None, and torchmetrics is quiet.
    nothing = torch.zeros(0, device=device)
    segmentation.update(nothing.long(), nothing.long())
    depth.update(nothing, nothing)
    baseline.update(nothing)
    places = ShardSampler(len(frames), rank, processes)
    for position in tqdm(places, desc="evaluate", unit="frame", disable=rank > 0):
        item = frames[position]
        prediction = predictor(item.frame)
        _require_finite(prediction, item.name)
        size = (prediction.labels.shape[0], prediction.labels.shape[1])
        if item.labels is not None:
            truth = torch.from_numpy(_to_size(item.labels, size).astype(np.int64))
            labels = torch.from_numpy(prediction.labels.astype(np.int64))
            segmentation.update(labels.to(device), truth.to(device))
        if item.depth is not None:
            metres = torch.from_numpy(np.nan_to_num(_to_size(item.depth, size), nan=0.0)).to(device)
            depth.update(torch.from_numpy(np.array(prediction.depth)).to(device), metres)
            baseline.update(metres)
        if on_frame is not None:
            on_frame(position, item, prediction)
    return {
        "frames": len(frames),
        "segmentation": segmentation.summary(),
        "depth": {**depth.compute(), "mean_depth_delta1": baseline.compute()},
    }
