"""A comparison as text."""

from __future__ import annotations

from safetrip_calibration.comparison import Candidate, Comparison
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.table import number, table

__all__ = ["comparison_table"]


def comparison_table(result: Comparison) -> str:
    """One line for each precision and backend, then limits crossed and what could not run here."""
    header = (
        "precision backend",
        "labels = fp32 %",
        "mIoU %",
        "change",
        "worst class",
        "AbsRel",
        "change %",
        "delta1 %",
        "worst frame",
        "",
    )
    rows = [_row(item, reference=item is result.reference) for item in (result.reference, *result.candidates)]
    lines = [table(header, rows)]
    lines += [f"{_name(result.reference)}: {fault}" for fault in depth_faults(result.reference.metrics)]
    for item in result.candidates:
        lines += [f"{_name(item)}: {violation}" for violation in item.violations]
    lines += [
        f"{_name(item)}: not judged, as {_why_unjudged(item)} for it: {', '.join(item.unjudged)}"
        for item in result.candidates
        if item.unjudged
    ]
    lines += [
        f"not run: {name}: {reason.removeprefix(f'{name}: ')}" for name, reason in result.unavailable.items()
    ]
    lines += [f"{text}: rejected before, not compared again: the verdict stands" for text in result.standing]
    return "\n".join(lines)


def _name(item: Candidate) -> str:
    return f"{item.precision} {item.backend}"


def _why_unjudged(item: Candidate) -> str:
    if depth_faults(item.metrics):
        return "the frames have no truth, or the net no number,"
    return "the frames have no truth"


def _row(item: Candidate, reference: bool) -> tuple[str, ...]:
    m = item.metrics
    rejected = bool(depth_faults(m)) if reference else not item.accepted
    worst_class = "-"
    if m["class_iou_drop"] is not None and not reference:
        worst_class = f"{m['worst_class']} {_signed(m['class_iou_drop'], -1)}"
    return (
        _name(item),
        number(_times(m["label_agreement"], 100)),
        number(_times(m["miou"], 100)),
        "reference" if reference else _signed(m["miou_drop"], -1),
        worst_class,
        number(m["depth_abs_rel"], 4),
        "" if reference else _signed(m["depth_abs_rel_rise"], 1),
        number(_times(m["delta1"], 100)),
        "" if reference else f"{m['worst_frame']['name']} {100 * m['worst_frame']['label_agreement']:.1f}",
        "REJECTED" if rejected else "" if reference else "ok",
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _signed(value: float | None, sign: int) -> str:
    if value is None:
        return "-"
    # Adding 0 makes 0 of -0: nothing has changed, in neither direction.
    return f"{round(sign * value, 2) + 0.0:+.2f}"
