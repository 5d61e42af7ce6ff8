"""Confidence intervals against coverage by simulation, and known small cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from safetrip_calibration.intervals import mean_rate, percentile


@pytest.mark.parametrize(("n", "q"), [(60, 50), (200, 50), (200, 95), (500, 99)])
def test_intervals_cover_the_true_percentile(n: int, q: float) -> None:
    rng = np.random.default_rng(0)
    truth = -math.log(1 - q / 100)  # of the exponential distribution
    covered = 0
    for _ in range(400):
        found = percentile(list(rng.exponential(1.0, n)), q)
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 400 <= 1.0


def test_order_statistics_of_a_known_case() -> None:
    # n = 20, median: ranks 6 and 15 (Conover, Practical Nonparametric Statistics, table A3).
    found = percentile(list(range(1, 21)), 50)
    assert (found.low, found.high) == (6, 15)


def test_a_bound_that_the_samples_cannot_give_is_infinite() -> None:
    assert percentile(list(range(50)), 99).high == math.inf
    assert percentile([1.0], 50).low == -math.inf
    assert percentile(list(range(50)), 99).to_dict()["high"] is None


def test_rate_is_frames_over_time_and_correlated_noise_widens_it() -> None:
    rng = np.random.default_rng(0)
    quiet = 0.02 + rng.normal(0, 1e-4, 200)
    drifting = quiet + np.repeat([0.0, 0.01], 100)
    assert mean_rate(list(quiet)).value == pytest.approx(200 / quiet.sum())
    assert mean_rate(list(quiet)).low > 49
    assert mean_rate(list(drifting)).low < 37 < mean_rate(list(drifting)).high


def test_one_hiccup_does_not_make_every_rate_possible() -> None:
    found = mean_rate([0.02] * 10 + [5.0] + [0.021] * 9)
    assert found.high == pytest.approx(50)


def test_few_samples_say_nothing_of_the_rate() -> None:
    assert mean_rate([0.1, 0.1]).low == 0.0
