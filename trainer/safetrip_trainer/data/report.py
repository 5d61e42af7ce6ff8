"""What `trainer prepare` prints, and the same as figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.index import SPLITS
from safetrip_trainer.data.prepare import PrepareReport
from safetrip_trainer.data.statistics import total_pixels
from safetrip_trainer.data.tree import SOURCES

__all__ = ["print_report", "report_figures"]

_SHOWN_PROBLEMS = 20


def report_figures(report: PrepareReport) -> dict[str, Any]:
    """JSON-ready: samples per source and split, pixels per class and split, weights, problems."""
    index = report.index
    counts = Counter((sample.source, sample.split) for sample in index.samples)
    folders = {(sample.source, sample.split, sample.folder) for sample in index.samples}
    # KITTI is no part of SafeTrip-Q: it has a row where the tree has some.
    sources = [
        source for source in SOURCES if source != "kitti" or any(counts[source, name] for name in SPLITS)
    ]
    pixels = {name: total_pixels(sample.pixels or {} for sample in index.split(name)) for name in SPLITS}
    return {
        "samples": {source: {split: counts[source, split] for split in SPLITS} for source in sources},
        "folders": {
            source: {
                split: sorted(item[2] for item in folders if item[:2] == (source, split)) for split in SPLITS
            }
            for source in sources
        },
        "classes": {
            name: {
                "weight": round(float(index.class_weights[label]), 4),
                **{f"{split}_pixels": int(pixels[split][label]) for split in SPLITS},
            }
            for label, name in enumerate(CLASS_NAMES)
        },
        "problems": [{"path": problem.path, "reason": problem.reason} for problem in report.problems],
        "dropped_shapes": dict(sorted(report.dropped.items())),
        "notes": list(report.notes),
        "reused": report.reused,
        "data_hash": index.data_hash,
    }


def print_report(report: PrepareReport, console: Console | None = None) -> None:
    """The summary: samples, classes that occur, what was left out and why."""
    console = console or Console(highlight=False)
    figures = report_figures(report)
    console.print(_samples_table(figures))
    console.print(_classes_table(figures))
    for note in report.notes:
        console.print(f"note: {escape(note)}")
    if report.dropped:
        _print_dropped(report.dropped, console)
    _print_problems(report, console)
    reused = f", {report.reused} of them unchanged since the last run" if report.reused else ""
    console.print(f"{len(report.index.samples)} samples{reused} -> {escape(str(report.index.prepared))}")


def _print_dropped(dropped: Mapping[str, int], console: Console) -> None:
    """Labels and shapes apart, for their remedies are others."""
    for start, why in (("label", f"outside the {len(CLASS_NAMES)} classes"), ("shape", "no polygon")):
        kinds = [(kind, count) for kind, count in sorted(dropped.items()) if kind.startswith(f"{start} ")]
        if kinds:
            named = ", ".join(f"{kind} {count}{_meant(kind)}" for kind, count in kinds)
            console.print(f"dropped ({why}): {escape(named)}")
    if any(kind.startswith("label ") for kind in dropped):
        console.print(f"the classes are: {', '.join(CLASS_NAMES)}")


def _meant(kind: str) -> str:
    """Behind a dropped label that is a class but for its spelling: how that class is written."""
    name = re.sub(r"[^a-z]+", "_", kind.removeprefix("label ").lower()).strip("_")
    return f" (write it {name})" if kind.startswith("label ") and name in CLASS_NAMES else ""


def _samples_table(figures: dict[str, Any]) -> Table:
    table = Table("source", title="samples (folders)")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for source in figures["samples"]:
        cells = (
            f"{figures['samples'][source][name]} ({len(figures['folders'][source][name])})" for name in SPLITS
        )
        table.add_row(source, *cells)
    return table


def _classes_table(figures: dict[str, Any]) -> Table:
    table = Table("id", "class", title="classes that occur (share of labelled pixels)")
    for heading in (*SPLITS, "weight"):
        table.add_column(heading, justify="right")
    totals = {split: sum(row[f"{split}_pixels"] for row in figures["classes"].values()) for split in SPLITS}
    for label, (name, row) in enumerate(figures["classes"].items()):
        if not any(row[f"{split}_pixels"] for split in SPLITS):
            continue
        shares = (f"{row[f'{split}_pixels'] / max(totals[split], 1):.3%}" for split in SPLITS)
        table.add_row(str(label), name, *shares, f"{row['weight']:.2f}")
    return table


def _print_problems(report: PrepareReport, console: Console) -> None:
    if not report.problems:
        return
    console.print(f"{len(report.problems)} problem(s), left out:")
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        console.print(f"  {escape(str(problem))}", soft_wrap=True)
    rest = len(report.problems) - _SHOWN_PROBLEMS
    if rest > 0:
        console.print(f"  ... and {rest} more in {escape(str(report.index.prepared / 'problems.json'))}")
