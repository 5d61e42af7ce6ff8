"""Where a frame's time goes, and how long others wait for it: with the clock in the test's hand."""

from __future__ import annotations

import time
import types
from typing import Any

import numpy as np
import pytest

from safetrip_sdk.backends.base import StageTimes
from safetrip_sdk.errors import SourceError
from safetrip_sdk.inference.pool import SlotPool
from tests.sdk.scripted import ScriptedBackend, ScriptedCamera, ScriptedSlot, numbered, scripted

MS = 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pipeline's; stands still unless a test moves it."""
    clock = types.SimpleNamespace(now=10**12)
    clock.monotonic_ns = lambda: clock.now
    monkeypatch.setattr("safetrip_sdk.inference.pipeline.time", clock)
    return clock


@pytest.mark.parametrize("door", ["call", "submit"])
def test_every_millisecond_is_in_its_stage(clock: Any, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    backend = ScriptedBackend()
    monkeypatch.setattr(ScriptedSlot, "times", lambda self: StageTimes(1.0, 5.0, 2.0))
    passes = {"load": 3 * MS, "wait": 10 * MS, "read": 4 * MS}

    def step(call: str) -> None:
        clock.now += passes.get(call, 0)

    with scripted(backend) as runtime:
        backend.fail = step
        captured = clock.now - 100 * MS
        if door == "call":
            prediction = runtime(numbered(1), captured_at=captured)
        else:
            prediction = runtime.submit(numbered(1), captured_at=captured).result(10)
    timing = prediction.timing
    assert prediction.captured_at == captured
    assert (timing.upload, timing.compute, timing.download) == pytest.approx((1 + 3, 5, 2 + 4))
    assert timing.wait == pytest.approx(3 + 10 - (4 + 5 + 2)), "what is left until the outputs are there"
    assert timing.total == pytest.approx(100 + 3 + 10 + 4), "from the capture on"


def test_a_timeout_counts_from_the_call_and_not_from_the_launch(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = ScriptedBackend()
    waits: list[float | None] = []
    real = ScriptedSlot.wait

    def wait(self: ScriptedSlot, timeout: float | None) -> bool:
        waits.append(timeout)
        return real(self, timeout)

    def slow_load(call: str) -> None:
        clock.now += 3000 * MS if call == "load" else 0

    monkeypatch.setattr(ScriptedSlot, "wait", wait)
    with scripted(backend) as runtime:
        backend.fail = slow_load
        runtime(numbered(1), timeout=10.0)
    assert waits[0] == pytest.approx(7.0)


@pytest.mark.parametrize("door", ["call", "submit"])
@pytest.mark.parametrize(
    "wrong", [1_795_000_000 * 10**9, 0, 1.5, "now", -1, 1e14, 10**14 - 3601 * 10**9, 10**14 + 3601 * 10**9]
)
def test_a_capture_time_of_another_clock_is_refused(clock: Any, door: str, wrong: Any) -> None:
    """Before the frame is launched; its total would be off by years, and so would the figures."""
    clock.now = 10**14
    backend = ScriptedBackend()
    with scripted(backend) as runtime:
        with pytest.raises(
            ValueError, match=r"captured_at: want nanoseconds by time\.monotonic_ns"
        ) as caught:
            _ = (runtime if door == "call" else runtime.submit)(numbered(1), captured_at=wrong)
        assert repr(wrong) in str(caught.value)
        assert backend.made[0].done == backend.made[1].done == 0.0
        assert runtime.stats().errors == 0
        for right in (clock.now - 3599 * 10**9, np.int64(clock.now)):
            assert runtime(numbered(1), captured_at=right).captured_at == right


def test_a_source_of_another_clock_is_refused() -> None:
    class Camera(ScriptedCamera):
        def grab(self) -> int | None:
            return time.time_ns()

    with scripted(ScriptedBackend()) as runtime:
        with pytest.raises(SourceError, match=r"camera: ValueError: captured_at: want .*monotonic_ns"):
            list(runtime.stream(Camera()))
        assert runtime.usable


@pytest.mark.parametrize("lost", [0, 1])
def test_slots_are_waited_for_as_long_as_others_come_back(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    slots: list[Any] = [object() for _ in range(4)]
    pool = SlotPool(slots, lambda: None)
    away = [pool.acquire(0.0) for _ in slots][lost:]
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("safetrip_sdk.inference.pool.time", clock)

    class Changed:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def wait(self, seconds: float) -> None:
            """Four fifths of a second, then a slot is back; where none comes, all the time there is."""
            clock.now += 0.8 if away else seconds
            if away:
                pool._free.append(away.pop())  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_changed", Changed())
    assert pool.drain(1.0) == (lost == 0)
    assert clock.now == pytest.approx(4 * 0.8 if lost == 0 else 3 * 0.8 + 1.0)
