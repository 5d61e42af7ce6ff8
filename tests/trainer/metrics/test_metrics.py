"""Metrics against numpy's own counting and hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from safetrip_trainer.metrics import DepthMetrics, SegmentationMetrics


def test_segmentation_by_hand() -> None:
    metrics = SegmentationMetrics()
    truth = torch.tensor([[[0, 0, 0, 2], [2, 255, 255, 6]]])
    predicted = torch.tensor([[[0, 0, 2, 2], [2, 5, 0, 7]]])
    metrics.update(predicted, truth)
    summary = metrics.summary()
    assert summary["class_iou"] == pytest.approx({"sidewalk": 2 / 3, "roadway": 2 / 3, "person": 0.0})
    assert summary["miou"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert summary["pixel_accuracy"] == pytest.approx(4 / 6)
    assert summary["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert summary["majority_miou"] == pytest.approx(3 / 6 / 3)


def test_segmentation_against_numpy_over_batches() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 12, (6, 20, 20))
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 24, truth.shape))
    truth[rng.random(truth.shape) < 0.2] = 255
    metrics = SegmentationMetrics()
    for start in (0, 2, 5):
        stop = {0: 2, 2: 5, 5: 6}[start]
        metrics.update(torch.from_numpy(predicted[start:stop]), torch.from_numpy(truth[start:stop]))
    keep = truth != 255
    ious = [
        ((predicted == c) & (truth == c) & keep).sum() / (((predicted == c) & keep) | (truth == c)).sum()
        for c in range(12)
    ]
    assert metrics.summary()["miou"] == pytest.approx(np.mean(ious))


def test_nothing_labelled_gives_none_not_nan() -> None:
    metrics = SegmentationMetrics()
    metrics.update(torch.zeros(1, 4, 4, dtype=torch.long), torch.full((1, 4, 4), 255))
    assert metrics.summary()["miou"] is None
    depth = DepthMetrics()
    depth.update(torch.ones(4, 4), torch.zeros(4, 4))
    assert depth.compute()["rmse"] is None


def test_depth_by_hand() -> None:
    metrics = DepthMetrics(80.0)
    target = torch.tensor([10.0, 20.0, 0.0, 81.0, math.nan])
    metrics.update(torch.tensor([12.0, 10.0, 5.0, 5.0, 5.0]), target)
    result = metrics.compute()
    assert result["valid_pixels"] == 2
    assert result["rmse"] == pytest.approx(math.sqrt((4 + 100) / 2))
    assert result["mae"] == pytest.approx(6.0)
    assert result["abs_rel"] == pytest.approx((0.2 + 0.5) / 2)
    assert result["sq_rel"] == pytest.approx((0.4 + 5.0) / 2)
    # Ratios 1.2 and 2.0.
    assert (result["delta1"], result["delta2"], result["delta3"]) == (0.5, 0.5, 0.5)
    # 1.5 and 1.9, beside 0 m, which is a millimetre: 1.25, 1.5625 and 1.953 lie between.
    metrics.update(torch.tensor([15.0, 10.0, 0.0]), torch.tensor([10.0, 19.0, 1.0]))
    result = metrics.compute()
    assert (result["delta1"], result["delta2"], result["delta3"]) == (1 / 5, 2 / 5, 3 / 5)
