"""Figures of a runtime: percentiles against numpy's, rates by a clock in the test's hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk.errors import CudaError, ResultTimeoutError
from safetrip_sdk.inference.stats import Histogram, StatsRecorder
from safetrip_sdk.prediction import Timing
from safetrip_sdk.runtime import Runtime
from tests.sdk.scripted import ScriptedBackend, eventually, numbered, scripted


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
    recorder.add_timeout()
    found = recorder.snapshot()
    assert (found.frames, found.dropped, found.errors, found.timeouts) == (4, 1, 1, 1)
    assert (found.seconds, found.fps) == (pytest.approx(2.0), pytest.approx(2.0))
    means = {stage: item.mean for stage, item in found.stages.items()}
    assert means == {"wait": 1.0, "upload": 2.0, "compute": 3.0, "download": 4.0, "total": 500.0}
    recorder.reset()
    found = recorder.snapshot()
    assert (found.frames, found.dropped, found.errors, found.timeouts, found.fps) == (0, 0, 0, 0, 0.0)


def test_a_runtimes_figures_can_be_counted_anew() -> None:
    with scripted(ScriptedBackend()) as runtime:
        runtime(numbered(1))
        assert runtime.stats(reset=True).frames == 1
        runtime(numbered(2))
        assert runtime.stats().frames == 1


def counts(runtime: Runtime) -> tuple[int, int, int, int]:
    found = runtime.stats()
    return found.frames, found.dropped, found.errors, found.timeouts


def all_back(runtime: Runtime) -> bool:
    pipeline = runtime._pipeline
    return pipeline is not None and len(pipeline.pool._free) == len(pipeline.pool.slots)


def test_what_its_caller_gave_up_is_a_timeout_and_no_frame() -> None:
    """Under way or for want of a slot; also when the frame comes, or fails, after all."""
    backend = ScriptedBackend()
    with scripted(backend, slots=2) as runtime:
        backend.gate.clear()
        for call in (runtime, runtime, runtime, runtime.submit):
            with pytest.raises(ResultTimeoutError):
                call(numbered(1), timeout=0.01)
        assert counts(runtime) == (0, 0, 0, 4)
        backend.gate.set()
        eventually(lambda: all_back(runtime))
        assert counts(runtime) == (0, 0, 0, 4), "nobody was given what came"
        backend.gate.clear()
        with pytest.raises(ResultTimeoutError):
            runtime(numbered(1), timeout=0.01)

        def fail(call: str) -> None:
            if call == "read":
                raise ValueError("after all")

        backend.fail = fail
        backend.gate.set()
        eventually(lambda: all_back(runtime))
        assert counts(runtime) == (0, 0, 0, 5)
        backend.fail = lambda call: None
        runtime(numbered(2))
        assert counts(runtime) == (1, 0, 0, 5)
        assert set(runtime.stats().to_dict()) >= {"frames", "dropped", "errors", "timeouts"}


def test_a_ticket_that_is_asked_too_early_is_a_frame_when_it_comes() -> None:
    backend = ScriptedBackend()
    with scripted(backend) as runtime:
        backend.gate.clear()
        ticket = runtime.submit(numbered(1))
        with pytest.raises(ResultTimeoutError):
            ticket.result(0.01)
        assert counts(runtime) == (0, 0, 0, 0)
        backend.gate.set()
        ticket.result(10)
        assert counts(runtime) == (1, 0, 0, 0)


def test_frames_that_a_fault_settles_are_errors_each_of_them_once() -> None:
    """The one that found it, and those that were owed, though they come back after all."""
    backend = ScriptedBackend()
    with scripted(backend, slots=3) as runtime:
        backend.gate.clear()
        tickets = [runtime.submit(numbered(value)) for value in (1, 2)]

        def fail(call: str) -> None:
            if call == "launch":
                raise CudaError("illegal address", sticky=True)

        backend.fail = fail
        with pytest.raises(CudaError):
            runtime(numbered(3))
        for ticket in tickets:
            with pytest.raises(CudaError):
                ticket.result(10)
        assert counts(runtime) == (0, 0, 3, 0)
        backend.gate.set()
        eventually(lambda: all_back(runtime))
        assert counts(runtime) == (0, 0, 3, 0)


@pytest.mark.parametrize("door", ["call", "submit"])
def test_a_frame_that_hangs_is_an_error(door: str) -> None:
    backend = ScriptedBackend()
    with scripted(backend, hang_after=0.1) as runtime:
        backend.gate.clear()
        with pytest.raises(ResultTimeoutError, match="hangs"):
            _ = runtime(numbered(1)) if door == "call" else runtime.submit(numbered(1)).result(10)
        assert counts(runtime) == (0, 0, 1, 0)
        backend.gate.set()
        eventually(lambda: all_back(runtime))
        assert counts(runtime) == (0, 0, 1, 0)
