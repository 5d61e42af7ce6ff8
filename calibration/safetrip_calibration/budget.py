"""Hold a bundle against a budget on this machine: measured, judged beyond noise, recorded in the bundle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetrip_calibration.budget_file import Budget
from safetrip_calibration.device_state import device_state, power_mode
from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.intervals import Interval, mean_rate, percentile
from safetrip_calibration.measure import Job, Measurement, measure
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.not_finite import FAULTS, depth_faults
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.choice import auto_precisions
from safetrip_sdk.manifest import PrecisionInfo

__all__ = ["BudgetResult", "Check", "judge", "run_budget"]

MAX_ROUNDS = 3  # an undecided verdict is measured again, each time with as many frames more


@dataclass(frozen=True)
class Check:
    """One line of the verdict.

    Attributes:
        measured: the estimate with its interval; one without noise has low = high = value.
        at_most: True for a ceiling, False for a floor.
        largest: of the samples; when even that is within the limit, no more of them are needed.
    """

    name: str
    measured: Interval
    limit: float
    at_most: bool = True
    largest: float = math.inf

    @property
    def passed(self) -> bool:
        """False only when the whole interval is beyond the limit: noise does not fail a budget."""
        return self.measured.low <= self.limit if self.at_most else self.measured.high >= self.limit

    @property
    def decided(self) -> bool:
        """True when the limit is not inside the interval, or no sample at all crossed it."""
        inside = self.measured.low <= self.limit < self.measured.high
        return not inside or (self.at_most and self.largest <= self.limit)

    @property
    def verdict(self) -> str:
        """pass, FAIL, or pass (within noise)."""
        within = self.passed and (self.measured.value > self.limit) == self.at_most
        within = within and self.measured.value != self.limit
        return "FAIL" if not self.passed else "pass (within noise)" if within else "pass"


@dataclass(frozen=True)
class BudgetResult:
    """The verdict with everything measured.

    Attributes:
        checks: one for each limit.
        figures: the latency entry that the manifest got.
        notes: why the figures may not be the budget's: another device or power mode, accuracy of another
            backend.
    """

    budget: Budget
    checks: tuple[Check, ...]
    figures: dict[str, Any]
    notes: tuple[str, ...] = ()
    states: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {
                "name": check.name,
                **check.measured.to_dict(),
                "limit": check.limit,
                "at_most": check.at_most,
                "verdict": check.verdict,
            }
            for check in self.checks
        ]
        return {
            "budget": self.budget.name,
            "passed": self.passed,
            "checks": rows,
            "figures": self.figures,
            "notes": list(self.notes),
            "states": self.states,
        }


def run_budget(
    bundle_path: str | Path,
    budget: Budget,
    images: Sequence[NDArray[np.uint8]],
    frames: int | None = None,
    progress: Callable[[str], None] | None = None,
    write: bool = True,
) -> BudgetResult:
    """Measure on this machine and judge.

    While a latency limit lies inside its confidence interval, as many frames again are measured, three times
    at most; what is still undecided then passes, marked so.

    Args:
        bundle_path: the bundle.
        budget: of `load_budget`.
        images: (H, W, 3) uint8 BGR of the budget's frame size.
        frames: instead of the budget's number.
        progress: called with what is being done.
        write: False leaves the bundle's manifest alone.

    Raises:
        CalibrationError: an image of another size, a precision that the bundle does not hold, or figures
            of its accuracy that no comparison has given; before anything is measured.
        BundleChangedError: the model was replaced meanwhile.
        SafetripError: it could not be measured.
    """
    bundle = Bundle.open(bundle_path)
    for image in images:
        if image.shape[:2] != budget.frame_size:
            raise CalibrationError(
                f"a frame is {image.shape[0]}x{image.shape[1]}, the budget is for "
                f"{budget.frame_size[0]}x{budget.frame_size[1]}"
            )
    precision = _precision(bundle, budget)
    _compared(budget, bundle.manifest.precisions[precision])  # what is missing is said before measuring
    job = Job(str(bundle_path), precision, budget.backend, frames or budget.frames)
    before = device_state()
    rounds: list[Measurement] = []
    checks: list[Check] = []
    while len(rounds) < MAX_ROUNDS and not (checks and all(check.decided for check in checks)):
        if progress:
            progress(
                f"measuring {job.frames} frames, {precision} on {budget.backend}, round {len(rounds) + 1}"
            )
        rounds.append(measure(job, images))
        checks = judge(budget, rounds)
    accuracy, notes = _accuracy_checks(budget, bundle.manifest.precisions[precision], rounds[0].backend)
    checks += accuracy
    figures = _figures(budget, rounds)
    read = ModelsRead.of(bundle, [precision])
    if write:
        with read.edit() as draft:
            draft.manifest = replace(draft.manifest, latency=(*draft.manifest.latency, figures))
    else:
        read.check(Bundle.open(bundle_path).manifest)
    states = {"before": before, "after": device_state()}
    return BudgetResult(budget, tuple(checks), figures, (*_notes(budget, rounds[0]), *notes), states)


def judge(budget: Budget, rounds: Sequence[Measurement]) -> list[Check]:
    """Latency, rate, memory and start-up of what was measured against their limits."""
    latencies = [value for item in rounds for value in item.latency_ms]
    checks = [
        Check(f"{name} ms", percentile(latencies, float(name[1:])), limit, largest=max(latencies))
        for name, limit in budget.latency_ms.items()
    ]
    if budget.frames_per_second is not None:
        rate = mean_rate([value / 1e3 for value in latencies])
        checks.append(Check("frames/s", rate, budget.frames_per_second, at_most=False))
    if budget.peak_memory_mb is not None:
        checks.append(Check("peak MB", _exact(max(m.peak_memory_mb for m in rounds)), budget.peak_memory_mb))
    if budget.startup_s is not None:
        # The fastest start is the program's own; the others also had the machine's noise.
        checks.append(Check("start-up s", _exact(min(m.startup_s for m in rounds)), budget.startup_s))
    return checks


def _precision(bundle: Bundle, budget: Budget) -> str:
    there = bundle.manifest.precisions
    if budget.precision != "auto":
        if budget.precision not in there:
            raise CalibrationError(
                f"{bundle.path}: the budget asks for {budget.precision}, the bundle holds {', '.join(there)}"
            )
        return budget.precision
    if auto := auto_precisions(bundle.manifest):
        return auto[0]
    raise CalibrationError(f"{bundle.path}: the comparison has accepted none of {', '.join(there)}")


def _compared(budget: Budget, info: PrecisionInfo) -> dict[str, Mapping[str, Any]]:
    """Backend -> what `trainer compare` found there, of those that tell of every accuracy limit.

    Raises:
        CalibrationError: there are limits, and no backend's figures tell of all of them.
    """
    rows = _rows(info)
    if budget.accuracy and not rows:
        raise CalibrationError(f"{info.file} has no accuracy figures yet: run `trainer compare` first")
    enough = {backend: row for backend, row in rows.items() if not _missing(budget, row)}
    if rows and not enough:
        fewest = min([_missing(budget, row) for row in rows.values()], key=len)
        raise CalibrationError(
            f"{info.file}: the frames compared on could not give {', '.join(fewest)}; "
            "compare on labelled frames"
        )
    return enough


def _rows(info: PrecisionInfo) -> dict[str, Mapping[str, Any]]:
    rows: dict[str, Mapping[str, Any]] = info.metrics.get("compare", {}).get("backends", {})
    return rows


def _missing(budget: Budget, row: Mapping[str, Any]) -> list[str]:
    """Limits of which a backend's figures do not tell; where depth is no number, no more is needed."""
    return [] if depth_faults(row) else [name for name in budget.accuracy if row.get(name) is None]


def _accuracy_checks(budget: Budget, info: PrecisionInfo, backend: str) -> tuple[list[Check], list[str]]:
    """Accuracy limits against the comparison's figures, and a note where they are another backend's.

    Depth that is not finite fails whatever the limits.
    """
    compared = _compared(budget, info)
    used = backend if backend in compared else next(iter(compared), None)
    if used is None:
        return [], []
    row = compared[used]
    checks = [
        Check(name, _exact(row[name]), limit, at_most=name.endswith("_drop"))
        for name, limit in budget.accuracy.items()
        if row.get(name) is not None
    ]
    if depth_faults(row):
        pixels = sum((row.get(key) or {}).get("pixels", 0) for key in FAULTS)
        checks.append(Check("pixels without depth", _exact(pixels), 0.0))
    if used == backend or not checks:
        return checks, []
    own = _rows(info).get(backend)
    why = "not compared" if own is None else f"no {', '.join(_missing(budget, own))} from the comparison"
    return checks, [f"accuracy is {used}'s: {why} on {backend}"]


def _exact(value: float) -> Interval:
    return Interval(value, value, value)


def _figures(budget: Budget, rounds: Sequence[Measurement]) -> dict[str, Any]:
    """The entry of the manifest's `latency`."""
    latencies = [value for item in rounds for value in item.latency_ms]
    first = rounds[0]
    return {
        "precision": first.precision,
        "backend": first.backend,
        "device": first.device,
        "power_mode": power_mode(),
        "frame_size": list(first.frame_size),
        "frames": len(latencies),
        **{f"p{q}_ms": percentile(latencies, q).to_dict() for q in (50, 95, 99)},
        "frames_per_second": mean_rate([value / 1e3 for value in latencies]).to_dict(),
        "peak_memory_mb": max(item.peak_memory_mb for item in rounds),
        "startup_s": min(item.startup_s for item in rounds),
        "budget": budget.name,
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _notes(budget: Budget, measured: Measurement) -> tuple[str, ...]:
    notes = [f"measured on {measured.device}; the budget is for {budget.device}"]
    mode = power_mode()
    if budget.power_mode and mode and mode.lower() != budget.power_mode.lower():
        notes.append(f"power mode is {mode}; the budget is for {budget.power_mode}")
    return tuple(notes)
