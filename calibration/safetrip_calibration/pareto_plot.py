"""The Pareto front of mixed precision as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from safetrip_calibration.search import Point
from safetrip_sdk import atomic

__all__ = ["plot_front"]


def plot_front(
    points: Sequence[Point],
    front: Sequence[Point],
    chosen: Point | None,
    title: str,
    latency_limit: float | None,
    path: Path,
) -> None:
    """Write a PNG: predicted latency against the worst accuracy drop as a share of its limit.

    Points beyond any limit (infinite strain) are not on it.
    """
    from matplotlib.figure import Figure

    sound = [point for point in points if math.isfinite(point.strain)]
    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.scatter([p.latency_ms for p in sound], [p.strain for p in sound], color="0.6", label="tried")
    axes.plot([p.latency_ms for p in front], [p.strain for p in front], "o-", label="Pareto front")
    if chosen is not None:
        axes.plot([chosen.latency_ms], [chosen.strain], "*", markersize=16, label="chosen")
    axes.axhline(1.0, color="tab:red", linestyle="--", linewidth=1, label="accuracy limit")
    if latency_limit is not None:
        axes.axvline(latency_limit, color="tab:purple", linestyle="--", linewidth=1, label="latency limit")
    axes.set(xlabel="predicted latency, ms", ylabel="worst drop / its limit", title=title)
    axes.legend(fontsize="small")
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    atomic.write_bytes(path, buffer.getvalue())
