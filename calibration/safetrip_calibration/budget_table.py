"""A budget's verdict as text."""

from __future__ import annotations

from safetrip_calibration.budget import BudgetResult, Check
from safetrip_calibration.predict import BudgetPrediction
from safetrip_calibration.table import number, table

__all__ = ["budget_table", "prediction_table"]


def budget_table(result: BudgetResult) -> str:
    """One line for each limit, with the interval that the verdict rests on."""
    figures = result.figures
    height, width = figures["frame_size"]
    head = (
        f"budget {result.budget.name}: {figures['precision']} on {figures['backend']}, "
        f"{height}x{width}, {figures['frames']} frames"
    )
    rows = [_row(check) for check in result.checks]
    lines = [head, *result.notes, table(("limit", "measured", "95 % interval", "budget", ""), rows)]
    return "\n".join([*lines, "PASS" if result.passed else "FAIL"])


def _row(check: Check) -> tuple[str, ...]:
    measured = check.measured
    interval = "" if measured.low == measured.high else f"{number(measured.low)} to {number(measured.high)}"
    relation = "<=" if check.at_most else ">="
    return check.name, number(measured.value), interval, f"{relation} {check.limit:g}", check.verdict


def prediction_table(result: BudgetPrediction) -> str:
    """Predicted milliseconds of every precision by kind of kernel, against the budget's p50."""
    kinds = ("dense", "depthwise", "memory")
    rows = []
    for precision, item in result.predictions.items():
        fits = "" if result.limit_ms is None else "fits" if item.total_ms <= result.limit_ms else "too slow"
        times = [item.by_kind.get(kind, 0.0) for kind in kinds]
        parts = [number(part) for part in (*times, item.total_ms - sum(times))]
        rows.append((precision, number(item.total_ms), *parts, number(item.gmacs), fits))
    limit = "no p50 limit" if result.limit_ms is None else f"p50 limit {result.limit_ms:g} ms"
    head = f"predicted for {result.device}, {limit} (a roofline estimate, not a measurement)"
    return "\n".join([head, table(("precision", "ms", *kinds, "overhead", "GMAC", ""), rows)])
