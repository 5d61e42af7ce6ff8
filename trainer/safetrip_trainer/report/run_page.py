"""A run's report: how it learnt, what it says of validation frames, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from safetrip_trainer.classes import CLASS_NAMES, COLORS
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.report.curves import STUDENT_CURVES, curves_svg, read_curves
from safetrip_trainer.report.html import embed, render

__all__ = ["write_run_report"]

_IOU = "val/iou/"
_FIGURES = {
    "miou": "mIoU over the classes that occur",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "delta1": "depth: pixels with max(d/t, t/d) < 1.25",
    "abs_rel": "depth: AbsRel",
    "rmse": "depth: RMSE",
    "mae": "depth: MAE",
}


def write_run_report(run: Path, record: Mapping[str, Any]) -> Path:
    """Writes `run/report.html` from what `trainer fit` left there: one file, pictures inside.

    Args:
        run: its folder, with metrics.csv; config.yaml and predictions/ where there are any.
        record: what a checkpoint of the run says of it (`read_weights(...).record`).

    Returns:
        The report's path.
    """
    curves = _all_curves(run)
    best = _best(curves)
    shown = {title: [n for n in names if n in curves] for title, names in STUDENT_CURVES.items()}
    config = run / "config.yaml"
    page = render(
        "run.html.j2",
        name=run.name,
        epochs=len({epoch for epoch, _ in curves.get("train/loss", [])}),
        steps=record.get("global_step", "?"),
        best=best,
        figures=[(key, text) for key, text in _FIGURES.items() if best and best.get(key) is not None],
        colors={name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in zip(CLASS_NAMES, COLORS)},
        curves=Markup(curves_svg(curves, {title: tuple(names) for title, names in shown.items() if names})),
        pictures=[embed(picture) for picture in _last_pictures(run / "predictions")],
        provenance=record.get("provenance") or {},
        config=config.read_text() if config.exists() else "",
    )
    target = run / "report.html"
    write_atomic(target, page.encode())
    return target


def _all_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Of the whole run, what it had written before it was resumed included."""
    earlier = sorted(run.glob("metrics.before-resume-*.csv"), key=lambda file: int(file.stem.split("-")[-1]))
    merged: dict[str, dict[int, float]] = {}
    for file in (*earlier, run / "metrics.csv"):
        for name, pairs in read_curves(file).items():
            merged.setdefault(name, {}).update(pairs)
    return {name: sorted(values.items()) for name, values in merged.items()}


def _best(curves: dict[str, list[tuple[int, float]]]) -> dict[str, Any] | None:
    """The validation figures of the epoch with the highest score; `None` before the first validation."""
    if not curves.get("val/score"):
        return None
    epoch = max(curves["val/score"], key=lambda pair: pair[1])[0]
    found = {name: dict(pairs).get(epoch) for name, pairs in curves.items() if name.startswith("val/")}
    return {
        "epoch": epoch,
        "class_iou": {name: found[_IOU + name] for name in CLASS_NAMES if found.get(_IOU + name) is not None},
        **{name.removeprefix("val/"): value for name, value in found.items() if not name.startswith(_IOU)},
    }


def _last_pictures(folder: Path) -> list[Path]:
    epochs = sorted(item for item in folder.glob("epoch-*") if item.is_dir())
    return sorted(epochs[-1].glob("*.png")) if epochs else []
