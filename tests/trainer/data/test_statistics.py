from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.classes import NUM_CLASSES
from safetrip_trainer.data.statistics import class_weights, count_pixels, total_pixels


def test_counts_leave_out_unlabelled_pixels() -> None:
    mask = np.array([[0, 0, 255], [23, 0, 255]], np.uint8)
    assert count_pixels(mask) == {0: 3, 23: 1}
    assert total_pixels([{0: 3, 23: 1}, {0: 1}]).tolist() == [4] + [0] * (NUM_CLASSES - 2) + [1]


@given(st.lists(st.tuples(st.sampled_from([0, 7, 23, 255]), st.integers(1, 20)), min_size=1, max_size=12))
def test_counts_are_those_of_every_pixel(runs: list[tuple[int, int]]) -> None:
    mask = np.repeat(*np.array(runs).T).astype(np.uint8)[None]
    values, counts = np.unique(mask[mask != 255], return_counts=True)
    assert count_pixels(mask) == dict(zip(values.tolist(), counts.tolist()))


def test_weights_are_enets_formula_scaled_to_mean_one() -> None:
    pixels = np.zeros(NUM_CLASSES, np.int64)
    pixels[[2, 5]] = [900, 100]
    weights = class_weights(pixels)
    assert weights.shape == (NUM_CLASSES,)
    assert weights.dtype == np.float32
    ratio = math.log(1.02 + 0.9) / math.log(1.02 + 0.1)
    assert weights[5] / weights[2] == pytest.approx(ratio, rel=1e-5)
    assert weights[[2, 5]].mean() == pytest.approx(1.0)
    assert (np.delete(weights, [2, 5]) == 1.0).all()


def test_no_pixels_at_all_give_neutral_weights() -> None:
    assert (class_weights(np.zeros(NUM_CLASSES, np.int64)) == 1.0).all()


def test_a_class_of_a_few_pixels_stays_bounded() -> None:
    pixels = np.zeros(NUM_CLASSES, np.int64)
    pixels[[0, 1]] = [10**9, 1]
    weights = class_weights(pixels)
    assert weights[1] / weights[0] < 36
