"""Percentiles and rates with confidence intervals, so that noise does not flip a verdict.

A percentile's interval is between order statistics: the number of samples below the true q-quantile is
binomial(n, q), whatever the distribution (David & Nagaraja, Order Statistics, section 7.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "mean_rate", "percentile"]

CONFIDENCE = 0.95
BATCHES = 10
T_95_9 = 2.262  # Student's t, two-sided 95 %, BATCHES - 1 degrees of freedom


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval; a bound that the samples cannot give is infinite."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """For JSON: an infinite bound is null."""
        return {
            "value": self.value,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
        }


def percentile(samples: Sequence[float], q: float) -> Interval:
    """The q-th percentile (0 < q < 100) of at least one sample.

    Far out, few samples say nothing about the upper bound: p99 of 200 has 1.8 expected beyond it and no upper
    bound at 95 %.
    """
    ordered = sorted(samples)
    n, share = len(ordered), q / 100.0
    tail = (1.0 - CONFIDENCE) / 2.0
    # P(at most k samples lie below the quantile) = binomial CDF at k.
    cumulative, low, high = 0.0, 0, n + 1
    for k in range(n + 1):
        cumulative += _binomial(n, k, share)
        if cumulative <= tail:
            low = k + 1
        if cumulative >= 1.0 - tail:
            high = k + 1
            break
    return Interval(
        value=float(np.percentile(ordered, q)),
        low=ordered[low - 1] if low >= 1 else -math.inf,
        high=ordered[high - 1] if high <= n else math.inf,
    )


def mean_rate(seconds: Sequence[float]) -> Interval:
    """Frames a second out of the time of each, by the method of batch means.

    Successive frames are not independent (clocks rise and fall); means of ten long batches nearly are. No
    rate above that of the fastest frame is thought possible: one long hiccup would leave no upper bound.
    """
    batches = [float(part.mean()) for part in np.array_split(np.asarray(seconds), BATCHES) if part.size]
    mean = float(np.mean(seconds))
    if len(batches) < BATCHES:
        return Interval(1.0 / mean, 0.0, math.inf)
    half = T_95_9 * float(np.std(batches, ddof=1)) / math.sqrt(BATCHES)
    return Interval(1.0 / mean, 1.0 / (mean + half), 1.0 / max(mean - half, min(seconds)))


def _binomial(n: int, k: int, share: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(share) + (n - k) * math.log1p(-share))
