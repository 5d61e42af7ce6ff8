"""Learning curves from Lightning's metrics.csv, as SVG."""

from __future__ import annotations

import csv
import io
from pathlib import Path

__all__ = ["STUDENT_CURVES", "TEACHER_CURVES", "curves_svg", "read_curves"]

STUDENT_CURVES = {
    "loss": ("train/loss", "train/segmentation_loss", "train/depth_loss"),
    "segmentation (validation)": ("val/miou", "val/pixel_accuracy", "val/mean_class_accuracy"),
    "depth (validation)": ("val/delta1", "val/abs_rel"),
}
TEACHER_CURVES = {"loss": ("train/loss",), "segmentation (validation)": ("val/miou", "val/pixel_accuracy")}


def read_curves(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) by column of a metrics.csv; columns that hold no number are left out."""
    curves: dict[str, list[tuple[int, float]]] = {}
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            if not row.get("epoch"):
                continue
            for name, value in row.items():
                if name not in ("epoch", "step") and value:
                    curves.setdefault(name, []).append((int(row["epoch"]), float(value)))
    return curves


def curves_svg(curves: dict[str, list[tuple[int, float]]], groups: dict[str, tuple[str, ...]]) -> str:
    """One chart a group, side by side.

    Args:
        curves: of `read_curves`.
        groups: title of a chart, and the columns it shows; columns that are missing are left out.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, axes = pyplot.subplots(1, len(groups), figsize=(4.2 * len(groups), 2.9), squeeze=False)
    for axis, (title, names) in zip(axes[0], groups.items()):
        for name in names:
            if name in curves:
                epochs, values = zip(*curves[name])
                axis.plot(epochs, values, marker="o", markersize=3, label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=7)
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
