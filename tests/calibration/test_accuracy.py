"""Streaming sums against the definitions on everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from safetrip_calibration.accuracy import DepthError, LabelOverlap, to_size


def test_iou_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    overlap = LabelOverlap(4)
    truths, guesses = [], []
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 255], (20, 30)).astype(np.uint8)
        guess = rng.integers(0, 4, (20, 30)).astype(np.uint8)
        overlap.update(guess, truth)
        truths.append(truth)
        guesses.append(guess)
    truth, guess = np.stack(truths), np.stack(guesses)
    valid = truth != 255
    for kind in range(3):
        hit = ((truth == kind) & (guess == kind)).sum()
        union = (((truth == kind) | (guess == kind)) & valid).sum()
        assert overlap.iou()[kind] == pytest.approx(hit / union)
    assert np.isnan(overlap.iou()[3])  # in no truth
    assert overlap.miou == pytest.approx(np.nanmean(overlap.iou()[:3]))
    assert overlap.agreement == pytest.approx((truth == guess)[valid].mean())
    assert overlap.pixels == valid.sum()


def test_nothing_labelled_has_no_figures() -> None:
    overlap = LabelOverlap(3)
    assert np.isnan(overlap.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)))
    assert overlap.miou is None
    assert overlap.agreement is None


def test_depth_figures_equal_their_definitions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-5, 100, (3, 10, 10)).astype(np.float32)
    truth[0, 0] = np.nan
    depth = rng.uniform(0, 80, (3, 10, 10)).astype(np.float32)
    error = DepthError(max_depth=80.0)
    for one_depth, one_truth in zip(depth, truth):
        error.update(one_depth, one_truth)
    valid = (truth > 0) & (truth <= 80)
    d, t = np.maximum(depth[valid], 1e-3).astype(float), np.maximum(truth[valid], 1e-3).astype(float)
    assert error.abs_rel == pytest.approx((np.abs(d - t) / t).mean())
    assert error.rmse == pytest.approx(np.sqrt(((d - t) ** 2).mean()))
    assert error.delta1 == pytest.approx((np.maximum(d / t, t / d) < 1.25).mean())
    assert DepthError().delta1 is None


def test_truth_is_resized_without_inventing_values() -> None:
    plane = np.arange(12).reshape(3, 4)
    assert to_size(plane, (3, 4)).tolist() == plane.tolist()
    assert to_size(plane, (1, 2)).tolist() == [[5, 7]]
    assert set(to_size(plane, (7, 9)).ravel()) == set(range(12))
