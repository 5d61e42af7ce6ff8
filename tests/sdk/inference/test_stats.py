"""Figures of a runtime: percentiles against numpy's, rates by a clock in the test's hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk.inference.stats import Histogram, StatsRecorder
from safetrip_sdk.prediction import Timing
from tests.sdk.scripted import ScriptedBackend, numbered, scripted


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60))
def test_percentiles_are_those_of_the_values(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.summary()
    for fraction, said in ((50, found.p50), (95, found.p95), (99, found.p99)):
        # A bin is 2 % wide and its middle stands for it.
        exact = float(np.percentile(values, fraction, method="inverted_cdf"))
        assert said == pytest.approx(exact, rel=0.011)
    assert found.max == max(values)
    assert found.mean == pytest.approx(np.mean(values))


def test_values_beyond_the_bins_are_counted_and_none_is_nothing() -> None:
    histogram = Histogram()
    assert histogram.summary().p99 == histogram.summary().mean == 0.0
    for value in (0.0, 1e9):  # less than a microsecond; longer than the last bin
        histogram.add(value)
    found = histogram.summary()
    assert (found.p50, found.max) == (pytest.approx(1e-3, rel=0.02), 1e9)
    assert found.p99 > 2e6


def test_a_rate_counts_from_the_first_frames_beginning_until_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5_000_000_000
    monkeypatch.setattr("safetrip_sdk.inference.stats.time.monotonic_ns", lambda: now)
    recorder = StatsRecorder()
    for _ in range(4):
        recorder.add(Timing(wait=1.0, upload=2.0, compute=3.0, download=4.0, total=500.0))
        now += 500_000_000
    recorder.add_drop()
    recorder.add_error()
    found = recorder.snapshot()
    assert (found.frames, found.dropped, found.errors) == (4, 1, 1)
    assert (found.seconds, found.fps) == (pytest.approx(2.0), pytest.approx(2.0))
    means = {stage: item.mean for stage, item in found.stages.items()}
    assert means == {"wait": 1.0, "upload": 2.0, "compute": 3.0, "download": 4.0, "total": 500.0}
    recorder.reset()
    found = recorder.snapshot()
    assert (found.frames, found.dropped, found.errors, found.fps) == (0, 0, 0, 0.0)


def test_a_runtimes_figures_can_be_counted_anew() -> None:
    with scripted(ScriptedBackend()) as runtime:
        runtime(numbered(1))
        assert runtime.stats(reset=True).frames == 1
        runtime(numbered(2))
        assert runtime.stats().frames == 1
