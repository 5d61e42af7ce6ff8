"""Accuracy of a predictor on a prepared split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from safetrip_calibration.frames import FrameSet, LabelledFrame
from safetrip_sdk.prediction import Prediction
from safetrip_trainer.inference.predictor import Predictor
from safetrip_trainer.metrics import DepthMetrics, SegmentationMetrics
from safetrip_trainer.model.hydranet import MAX_DEPTH

__all__ = ["evaluate"]

# Centimetres up to the maximum depth: fine enough for the share of pixels within 25 % of a constant.
_DEPTH_BINS = int(MAX_DEPTH * 100)


class _MeanDepthBaseline:
    """What predicting the split's own mean depth at every pixel would score."""

    def __init__(self) -> None:
        self.histogram = np.zeros(_DEPTH_BINS, dtype=np.int64)

    def update(self, truth: np.ndarray) -> None:
        valid = truth[(truth > 0) & (truth < MAX_DEPTH)]
        self.histogram += np.bincount((valid * 100).astype(np.int64), minlength=_DEPTH_BINS)[:_DEPTH_BINS]

    def delta1(self) -> float | None:
        pixels = int(self.histogram.sum())
        if pixels == 0:
            return None
        centres = (np.arange(_DEPTH_BINS) + 0.5) / 100
        mean = float((self.histogram * centres).sum() / pixels)
        close = np.maximum(centres / mean, mean / centres) < 1.25
        return float(self.histogram[close].sum() / pixels)


def _to_size(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized: np.ndarray = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def evaluate(
    predictor: Predictor,
    frames: FrameSet,
    on_frame: Callable[[LabelledFrame, Prediction], None] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Runs the predictor on every frame and scores it where there are labels.

    Truth is brought to the prediction's size by the nearest pixel; depth counts in metres over measured
    pixels up to 80 m.

    Args:
        predictor: of `open_predictor`.
        frames: with truth, read one at a time.
        on_frame: called with each frame and its prediction (overlays, tables).
        progress: show a bar.

    Returns:
        `segmentation` and `depth`, as the metrics' summaries, `frames`, and under `depth` the floor
        `mean_depth_delta1` that predicting the mean would reach.
    """
    segmentation, depth, baseline = SegmentationMetrics(), DepthMetrics(MAX_DEPTH), _MeanDepthBaseline()
    for position in tqdm(range(len(frames)), desc="evaluate", unit="frame", disable=not progress):
        item = frames[position]
        prediction = predictor(item.frame)
        size = (prediction.labels.shape[0], prediction.labels.shape[1])
        if item.labels is not None:
            truth = torch.from_numpy(_to_size(item.labels, size).astype(np.int64))
            segmentation.update(torch.from_numpy(prediction.labels.astype(np.int64)), truth)
        if item.depth is not None:
            metres = np.nan_to_num(_to_size(item.depth, size), nan=0.0)
            depth.update(torch.from_numpy(np.array(prediction.depth)), torch.from_numpy(metres))
            baseline.update(metres)
        if on_frame is not None:
            on_frame(item, prediction)
    return {
        "frames": len(frames),
        "segmentation": segmentation.summary(),
        "depth": {**depth.compute(), "mean_depth_delta1": baseline.delta1()},
    }
