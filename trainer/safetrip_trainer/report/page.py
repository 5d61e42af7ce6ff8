"""The demo's report: what was done, what the net learnt, what each precision costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from safetrip_sdk.bundle import Bundle
from safetrip_trainer.data.files import read_json, write_atomic
from safetrip_trainer.report.curves import STUDENT_CURVES, TEACHER_CURVES, curves_svg, read_curves
from safetrip_trainer.report.html import embed, render

__all__ = ["write_demo_report"]


def _rows(out: Path, bundle: Bundle) -> list[dict[str, Any]]:
    """One row a precision and backend: accuracy from the comparison, latency from the benchmark."""
    latency = {
        (figure["precision"], figure["backend"]): figure["latency_ms"]["total"]
        for figure in read_json(out / "bench.json")["results"]
    }
    rows = []
    for result in read_json(out / "compare.json")["results"]:
        metrics, precision = result["metrics"], result["precision"]
        measured = latency.get((precision, result["backend"]), {})
        rows.append(
            {
                "precision": precision,
                "backend": result["backend"],
                "accepted": result["accepted"],
                "label_agreement": metrics["label_agreement"],
                "miou": metrics.get("miou"),
                "worst_class": metrics.get("worst_class"),
                "class_iou_drop": metrics.get("class_iou_drop"),
                "depth_error": metrics["depth_error_to_fp32"],
                "p50": measured.get("p50"),
                "p95": measured.get("p95"),
                "bytes": bundle.manifest.files[bundle.manifest.precisions[precision].file].size,
            }
        )
    return rows


def write_demo_report(out: Path, label: str) -> Path:
    """Writes `out/report.html` from what the demo's steps left in `out`.

    Args:
        out: the demo's folder.
        label: what the net may not be mistaken for; stands at the top.

    Returns:
        The report's path.
    """
    bundle = Bundle.open(out / "sidewalk.bundle")
    page = render(
        "demo.html.j2",
        label=label,
        manifest=bundle.manifest,
        steps=read_json(out / "steps.json"),
        evaluation=read_json(out / "evaluate.json"),
        budget=read_json(out / "budget.json"),
        student=Markup(curves_svg(read_curves(out / "student" / "metrics.csv"), STUDENT_CURVES)),
        teacher=Markup(curves_svg(read_curves(out / "teacher" / "metrics.csv"), TEACHER_CURVES)),
        overlays=[embed(picture) for picture in sorted((out / "overlays").glob("*.png"))],
        rows=_rows(out, bundle),
        colors={item.name: "#{:02x}{:02x}{:02x}".format(*item.color) for item in bundle.manifest.classes},
    )
    target = out / "report.html"
    write_atomic(target, page.encode())
    return target
