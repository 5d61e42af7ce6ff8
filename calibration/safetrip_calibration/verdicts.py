"""A comparison's figures and verdicts into the bundle's manifest, beside those of other machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from safetrip_calibration.comparison import Candidate, Comparison
from safetrip_sdk.manifest import PrecisionInfo

__all__ = ["record_verdicts"]


def record_verdicts(result: Comparison) -> Comparison:
    """Put what was asked for into the manifest: limits, figures by backend, and each precision's verdict.

    A precision is accepted where every backend that it was ever compared on accepts it: what another machine
    found, or an earlier comparison of more, is not undone by one that leaves it out.

    Returns:
        `result` with what is `standing`.

    Raises:
        BundleChangedError: a model was replaced since it was compared; nothing is written.
        BundleError: the bundle cannot be written; what stood there still does.
    """
    rows = (result.reference, *result.candidates) if result.reference_asked else result.candidates
    standing: list[str] = []
    with result.models.edit() as draft:
        precisions: dict[str, PrecisionInfo] = dict(draft.manifest.precisions)
        for name in dict.fromkeys(item.precision for item in rows):
            compared: dict[str, Any] = {
                "frames": result.frames,
                "frames_sha256": result.frames_sha256,
                "limits": result.thresholds.limits(name).asked,
                "min_class_share": result.thresholds.min_class_share,
            }
            new = {item.backend: _row(item) for item in rows if item.precision == name}
            info = precisions[name]
            kept = _kept_rows(info, compared, new)
            rejected = {backend: row["violations"] for backend, row in kept.items() if row["violations"]}
            standing += [f"{name} {backend}: {'; '.join(why)}" for backend, why in rejected.items()]
            metrics = {**info.metrics, "compare": {**compared, "backends": {**new, **kept}}}
            accepted = not rejected and not any(row["violations"] for row in new.values())
            precisions[name] = replace(info, metrics=metrics, accepted=accepted)
        draft.manifest = replace(draft.manifest, precisions=precisions)
    return replace(result, standing=tuple(standing))


def _row(item: Candidate) -> dict[str, Any]:
    return {**item.metrics, "violations": list(item.violations), "unjudged": list(item.unjudged)}


def _kept_rows(info: PrecisionInfo, compared: Mapping[str, Any], new: Collection[str]) -> dict[str, Any]:
    """Of backends that did not run again, with the frames and limits of their own comparison."""
    before = info.metrics.get("compare", {})
    about = {key: before[key] for key in compared if key in before}
    rows = before.get("backends", {})
    return {backend: {**about, **row} for backend, row in rows.items() if backend not in new}
