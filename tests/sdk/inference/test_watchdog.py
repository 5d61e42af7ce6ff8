"""What counts as a hang, with the clock in the test's hand: `look` is given the time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from safetrip_sdk.inference.flight import Flight
from safetrip_sdk.inference.watchdog import Watchdog

SECOND = 1_000_000_000


class Clocked:
    """A watchdog with hang_after = 10 s whose thread has ended; times are seconds from its making."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
        self.now = time.monotonic_ns()
        monkeypatch.setattr("safetrip_sdk.inference.watchdog.time.monotonic_ns", lambda: self.now)
        self.start = self.now
        self.dog = Watchdog(10.0, slots, lambda flight: None)
        self.dog.close()

    def at(self, seconds: float) -> Flight | None:
        """Look each second until then; the verdict at the end."""
        verdict = None
        while verdict is None and self.now < self.start + seconds * SECOND:
            self.now = min(self.now + SECOND, self.start + int(seconds * SECOND))
            verdict = self.dog.look(self.now)
        return verdict

    def launch(self, frame_id: int) -> Flight:
        slot: Any = None
        flight = Flight(frame_id, slot, self.now, self.now)
        flight.launched = self.now
        self.dog.watch(flight)
        return flight


def test_the_oldest_frame_of_those_that_hang_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch, 8)
    flights = []
    for number in range(8):
        flights.append(clock.launch(number))
        clock.now += 1000
    assert clock.at(9.5) is None
    assert clock.at(10.5) is flights[0]


def test_waiting_behind_frames_that_come_back_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch, 8)
    flights = [clock.launch(number) for number in range(8)]
    for number, flight in enumerate(flights[:-1], 1):
        assert clock.at(number * 6) is None
        clock.dog.forget(flight)
    assert clock.at(7 * 6 + 9) is None
    assert clock.at(7 * 6 + 11) is flights[-1]


def test_one_that_alone_does_not_come_back_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch, 3)
    lost = clock.launch(0)
    for number in range(1, 30):
        other = clock.launch(number)
        assert clock.at(number) is None
        clock.dog.forget(other)
    assert clock.at(31) is lost


def test_a_process_that_stood_still_gives_its_frames_their_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch, 2)
    flight = clock.launch(0)
    assert clock.at(2) is None
    clock.now += 3600 * SECOND  # SIGSTOP, SIGCONT
    assert clock.dog.look(clock.now) is None
    stopped = (clock.now - clock.start) / SECOND
    assert clock.at(stopped + 9) is None
    assert clock.at(stopped + 11) is flight
