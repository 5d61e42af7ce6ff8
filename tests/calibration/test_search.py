"""The search on a made-up net whose best answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safetrip_calibration.search import Point, pareto, search, strain
from safetrip_calibration.thresholds import Limits

LIMITS = Limits(miou_drop=1.0)
SAVED = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}  # ms that INT8 saves
LOST = {"a": 2.0, "b": 0.6, "c": 0.3, "d": 0.05}  # points of mIoU that it costs


def trial(in_float: Sequence[str]) -> dict[str, float]:
    return {"miou_drop": sum(LOST[name] for name in LOST if name not in in_float), "label_agreement": 1.0}


def latency(in_float: Sequence[str]) -> float:
    return 10.0 - sum(SAVED[name] for name in SAVED if name not in in_float)


def test_the_cheapest_assignment_within_the_limits_is_found() -> None:
    chosen, points = search(["a", "b", "c", "d"], trial, latency, LIMITS)
    # Without "a" the drop is 0.95: everything else stays INT8.
    assert chosen is not None
    assert chosen.in_float == ("a",)
    assert chosen.latency_ms == 1.0
    assert chosen.strain == pytest.approx(0.95)
    assert len(points) < 16


def test_a_bad_ranking_is_repaired_by_trying_blocks_again() -> None:
    chosen, _ = search(["d", "c", "b", "a"], trial, latency, LIMITS)
    assert chosen is not None
    assert chosen.in_float == ("a",)


def test_all_int8_is_taken_when_it_is_good_enough() -> None:
    chosen, points = search(["a", "b"], lambda blocks: {"miou_drop": 0.2}, latency, LIMITS)
    assert chosen is not None
    assert chosen.in_float == ()
    assert len(points) == 1


def test_nothing_fits_is_said() -> None:
    chosen, points = search(["a", "b"], lambda blocks: {"miou_drop": 5.0 - len(blocks)}, latency, LIMITS)
    assert chosen is None
    assert min(point.strain for point in points) == 3.0


def test_strain_is_the_worst_share_of_a_limit() -> None:
    limits = Limits(miou_drop=1.0, delta1_drop=0.5, label_agreement=0.98)
    assert strain({"miou_drop": 0.5, "delta1_drop": 0.4, "label_agreement": 0.99}, limits) == pytest.approx(
        0.8
    )
    assert strain({"miou_drop": -2.0, "delta1_drop": None, "label_agreement": 1.0}, limits) == 0.0
    assert strain({"miou_drop": 0.1, "label_agreement": 1.0}, Limits(miou_drop=0.0)) > 1e6
    # Of the 2 points of labels that may change, 3 did.
    assert strain({"miou_drop": 0.5, "delta1_drop": 0.4, "label_agreement": 0.97}, limits) == pytest.approx(
        1.5
    )


def test_the_front_holds_what_nothing_beats() -> None:
    def point(ms: float, used: float) -> Point:
        return Point((), ms, used, {})

    points = [point(3, 0.1), point(1, 2.0), point(2, 0.5), point(2, 0.9), point(4, 0.1), point(2.5, 0.7)]
    assert [(p.latency_ms, p.strain) for p in pareto(points)] == [(1, 2.0), (2, 0.5), (3, 0.1)]


def test_an_assignment_exactly_at_its_limit_is_within_it() -> None:
    chosen, _ = search(["a", "b", "c", "d"], trial, latency, Limits(miou_drop=trial(["a"])["miou_drop"]))
    assert chosen is not None
    assert (chosen.in_float, chosen.strain) == (("a",), 1.0)


def test_the_block_that_saves_most_is_put_back_first() -> None:
    """Any one of b, c and d may go back to INT8, not two: the one that is worth most does."""

    def one_of_three(in_float: Sequence[str]) -> dict[str, float]:
        return {"miou_drop": 2.0 * ("a" not in in_float) + 0.6 * sum(x not in in_float for x in "bcd")}

    chosen, _ = search(["b", "c", "d", "a"], one_of_three, latency, LIMITS)
    assert chosen is not None
    assert set(chosen.in_float) == {"a", "b", "c"}
