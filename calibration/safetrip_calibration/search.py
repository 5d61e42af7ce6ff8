"""The cheapest assignment of INT8 and FP16 to blocks that keeps the accuracy limits, and the Pareto front.

All blocks start in INT8. They are ranked by what they cost in accuracy for each ms that INT8 saves on
them; how many from the front must go back to FP16 is found by bisection, and each of those is then tried in
INT8 once more, the one that saves most first. Every trial is a point of accuracy against latency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.thresholds import Limits

__all__ = ["Point", "pareto", "search", "strain"]

Trial = Callable[[Sequence[str]], Mapping[str, Any]]
Latency = Callable[[Sequence[str]], float]


@dataclass(frozen=True)
class Point:
    """One assignment tried.

    Attributes:
        in_float: blocks in FP16; all others are INT8.
        latency_ms: predicted.
        strain: the worst accuracy drop as a share of its limit; up to 1 is within all limits, infinite is
            beyond any (`strain`).
        metrics: as `compare` names them.
    """

    in_float: tuple[str, ...]
    latency_ms: float
    strain: float
    metrics: Mapping[str, Any]


def strain(metrics: Mapping[str, Any], limits: Limits) -> float:
    """How far the accuracy limits are used up: 0 nothing lost, 1 exactly at one of them, more beyond.

    Infinite where depth, or a figure that has a limit, is no number: no limit is wide enough for that.
    """
    if depth_faults(metrics) or any(math.isnan(metrics.get(name) or 0.0) for name in limits.asked):
        return math.inf
    used = [0.0]
    for name in ("miou_drop", "class_iou_drop", "delta1_drop", "depth_abs_rel_rise", "depth_error_to_fp32"):
        limit, value = getattr(limits, name), metrics.get(name)
        if limit is not None and value is not None:
            used.append(value / limit if limit > 0 else float(value > 0) * 1e9)
    if limits.label_agreement is not None:
        used.append((1.0 - metrics["label_agreement"]) / max(1.0 - limits.label_agreement, 1e-9))
    return max(used)


def search(
    ranking: Sequence[str], trial: Trial, latency: Latency, limits: Limits, retries: int = 8
) -> tuple[Point | None, list[Point]]:
    """Find the cheapest assignment within `limits`.

    Args:
        ranking: blocks, the one to put back to FP16 first in front.
        trial: blocks in FP16 -> metrics.
        latency: blocks in FP16 -> milliseconds.
        limits: of the accuracy.
        retries: blocks tried in INT8 once more at the end.

    Returns:
        (the cheapest point within the limits, or None; every point tried).
    """
    points: list[Point] = []

    def point(blocks: Sequence[str]) -> Point:
        metrics = trial(blocks)
        made = Point(tuple(blocks), latency(blocks), strain(metrics, limits), metrics)
        points.append(made)
        return made

    best = point(ranking[:0])
    if best.strain > 1.0:
        best = point(ranking)
        low, high = 0, len(ranking)  # ranking[:low] is too little, ranking[:high] known or assumed enough
        while best.strain <= 1.0 and high - low > 1:
            middle = (low + high) // 2
            tried = point(ranking[:middle])
            if tried.strain <= 1.0:
                best, high = tried, middle
            else:
                low = middle
        best = _put_back(best, point, latency, retries)
    return (best if best.strain <= 1.0 else None), points


def _put_back(best: Point, point: Callable[[Sequence[str]], Point], latency: Latency, retries: int) -> Point:
    """Try blocks of `best` in INT8 again, the one that saves most first."""
    if best.strain > 1.0:
        return best

    def without(block: str) -> list[str]:
        return [name for name in best.in_float if name != block]

    for block in sorted(best.in_float, key=lambda name: latency(without(name)))[:retries]:
        if block in best.in_float:
            tried = point(without(block))
            if tried.strain <= 1.0:
                best = tried
    return best


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points of finite strain that no other beats in both latency and strain, fastest first."""
    front: list[Point] = []
    sound = [point for point in points if math.isfinite(point.strain)]
    for item in sorted(sound, key=lambda point: (point.latency_ms, point.strain)):
        if not front or item.strain < front[-1].strain:
            front.append(item)
    return front
