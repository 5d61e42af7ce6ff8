"""How much accuracy a precision may cost: limits from a file, and the verdict on a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetrip_calibration.errors import ThresholdsError
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.schema import Key, read_yaml
from safetrip_sdk.manifest import PRECISIONS

__all__ = ["Limits", "Thresholds", "load_thresholds"]

_POINTS = Key("number", low=0.0, high=100.0)
_SHARE = Key("number", low=0.0, high=1.0)
_LIMITS = {
    "miou_drop": _POINTS,
    "class_iou_drop": _POINTS,
    "delta1_drop": _POINTS,
    "depth_abs_rel_rise": Key("number", low=0.0),
    "label_agreement": _SHARE,
    "depth_error_to_fp32": Key("number", low=0.0),
}
_KEYS = {
    "min_class_share": _SHARE,
    "precisions": Key("map", required=True, keys={name: Key("map", keys=_LIMITS) for name in PRECISIONS}),
}


@dataclass(frozen=True)
class Limits:
    """Limits of one precision (thresholds.yaml explains each); None: not judged."""

    miou_drop: float | None = None
    class_iou_drop: float | None = None
    delta1_drop: float | None = None
    depth_abs_rel_rise: float | None = None
    label_agreement: float | None = None
    depth_error_to_fp32: float | None = None

    def violations(self, metrics: Mapping[str, Any]) -> list[str]:
        """Every limit that `metrics` (of `compare`) crosses, in words; empty: accepted.

        Depth that is not finite is a violation whatever the limits, and NaN crosses any limit. A figure that
        the frames could not give (no labels, no depth) crosses nothing (`unjudged`); where that is so of all
        of them, nothing is known of the precision, and that is a violation.
        """
        found = depth_faults(metrics)
        if not found and self.asked and self.unjudged(metrics) == list(self.asked):
            found.append("none of its limits could be judged: the frames have neither labels nor depth")
        for item in fields(self):
            limit, value = getattr(self, item.name), metrics.get(item.name)
            if limit is None or value is None:
                continue
            kept = value >= limit if item.name == "label_agreement" else value <= limit
            if not kept:
                worst = f" ({metrics['worst_class']})" if item.name == "class_iou_drop" else ""
                relation = "below" if item.name == "label_agreement" else "above"
                found.append(f"{item.name} {value:.4g}{worst} is {relation} {limit:g}")
        return found

    def unjudged(self, metrics: Mapping[str, Any]) -> list[str]:
        """Names of the limits for which the frames gave no figure."""
        return [name for name in self.asked if metrics.get(name) is None]

    @property
    def asked(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Thresholds:
    """Limits by precision; `min_class_share`: classes rarer than this are not held to class_iou_drop."""

    precisions: Mapping[str, Limits]
    min_class_share: float = 0.0

    def limits(self, precision: str) -> Limits:
        """Of one precision; without any when the file does not name it."""
        return self.precisions.get(precision, Limits())


def load_thresholds(path: Path | None = None) -> Thresholds:
    """Read a thresholds file; without a path the defaults that come with the package.

    Raises:
        ThresholdsError: the file is unreadable or has an unknown key or a wrong type.
    """
    default = Path(str(files("safetrip_calibration") / "thresholds.yaml"))
    raw = read_yaml(path or default, _KEYS, ThresholdsError)
    limits = {name: Limits(**values) for name, values in raw["precisions"].items()}
    return Thresholds(limits, raw.get("min_class_share", 0.0))
