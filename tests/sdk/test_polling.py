"""Polling waits under a clock of our own: nothing here sleeps, everything is exact."""

from __future__ import annotations

import types
from typing import Any

import pytest

from safetrip_sdk.backends import polling
from safetrip_sdk.backends.polling import Polling

FRAME_S = 0.002


class Device:
    """A GPU and a clock: a look takes 2 us, a sleep what is asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done_at = 0.0
        self.took_s = 0.0
        self.looks = 0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def reached(self, event: Any) -> bool:
        self.now += 2e-6
        self.looks += 1
        return self.now >= self.done_at

    def elapsed(self, began: Any, ended: Any) -> float:
        return self.took_s * 1e3


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    clock = types.SimpleNamespace(perf_counter=device.perf_counter, sleep=device.sleep)
    monkeypatch.setattr(polling, "time", clock)
    return device


def frame(device: Device, waiting: Polling, gpu_s: float = FRAME_S, stopped_s: float = 0.0) -> float:
    """Seconds from the launch of a frame until its wait ends; the process is stopped in between."""
    launched, device.took_s = device.now, gpu_s
    device.done_at = launched + gpu_s
    device.now += stopped_s
    while not waiting.wait(launched, 1.0):
        pass
    return device.now - launched


@pytest.mark.parametrize(
    "outlier", [{"gpu_s": 0.5}, {"gpu_s": 60.0}, {"stopped_s": 1.0}, {"stopped_s": 60.0}]
)
def test_one_late_frame_makes_no_other_late(device: Device, outlier: dict[str, float]) -> None:
    waiting = Polling(device, None, None, spin=False)  # type: ignore[arg-type]
    for _ in range(20):
        frame(device, waiting)
    frame(device, waiting, **outlier)
    later = [frame(device, waiting) for _ in range(300)]
    assert max(later) < FRAME_S + 60e-6


def test_a_late_first_frame_is_forgotten_too(device: Device) -> None:
    waiting = Polling(device, None, None, spin=False)  # type: ignore[arg-type]
    frame(device, waiting, gpu_s=1.0)
    assert frame(device, waiting) < 1.0
    assert max(frame(device, waiting) for _ in range(50)) < FRAME_S + 60e-6


def test_most_of_a_frame_is_slept_through(device: Device) -> None:
    """Also when frames have become longer for good."""
    waiting = Polling(device, None, None, spin=False)  # type: ignore[arg-type]
    for gpu_s in (0.002, 0.02, 0.005):
        for _ in range(6):
            frame(device, waiting, gpu_s)
        looks = device.looks
        assert gpu_s <= frame(device, waiting, gpu_s) < gpu_s + 60e-6
        assert device.looks - looks < 0.25 * gpu_s / polling.LOOK_S + 5


def test_a_wait_ends_in_time(device: Device) -> None:
    waiting = Polling(device, None, None, spin=False)  # type: ignore[arg-type]
    for _ in range(6):
        frame(device, waiting, gpu_s=0.1)
    device.done_at = device.now + 10.0
    before = device.now
    assert not waiting.wait(before, 0.01)
    assert device.now - before < 0.0101
