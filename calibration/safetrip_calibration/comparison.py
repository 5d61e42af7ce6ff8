"""What a comparison found: figures and verdicts, by precision and backend."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.thresholds import Thresholds

__all__ = ["Candidate", "Comparison"]


@dataclass(frozen=True)
class Candidate:
    """One precision on one backend.

    Attributes:
        metrics: figures as the README of thresholds.yaml names them, and those they come from.
        violations: limits crossed, in words; accepted when there is none.
        unjudged: names of the limits for which the frames had no truth.
    """

    precision: str
    backend: str
    metrics: dict[str, Any]
    violations: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.violations


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        reference: metrics of FP32 on onnxruntime.
        candidates: everything else that ran, in the order of precisions and backends.
        unavailable: backend, or "precision backend" -> why it did not run here.
        frames: number of frames; `frames_sha256` over their names and pixels.
        models: the models that ran.
        thresholds: the limits that the verdicts are by.
        reference_asked: whether the reference is one of those asked for, too.
        standing: "precision backend: violations" of earlier comparisons, on backends that were not compared
            again: the manifest goes on rejecting the precision.
    """

    reference: Candidate
    candidates: tuple[Candidate, ...]
    unavailable: dict[str, str]
    frames: int
    frames_sha256: str
    models: ModelsRead
    thresholds: Thresholds
    reference_asked: bool
    class_names: tuple[str, ...] = field(default=())
    standing: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """True when no candidate crosses a limit and the reference's depth is finite; the manifest's verdict
        also heeds `standing`.
        """
        return all(item.accepted for item in self.candidates) and not depth_faults(self.reference.metrics)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {
                "precision": item.precision,
                "backend": item.backend,
                "accepted": item.accepted,
                "violations": list(item.violations),
                "unjudged": list(item.unjudged),
                "metrics": item.metrics,
            }
            for item in (self.reference, *self.candidates)
        ]
        return {
            "accepted": self.accepted,
            "frames": self.frames,
            "frames_sha256": self.frames_sha256,
            "models": {name: asdict(info) for name, info in self.models.files.items()},
            "results": rows,
            "unavailable": self.unavailable,
            "standing": list(self.standing),
        }
