"""Mixed precision under two budgets: accuracy limits and a latency.

No calibrator saves a MobileNet of two tasks by itself: some blocks lose more than their milliseconds are
worth. Each block alone is tried in INT8, then `search` finds the cheapest assignment within the limits. Its
latency is predicted for the device that the bundle is for (`roofline`), which need not be this machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetrip_calibration.blocks import find_blocks
from safetrip_calibration.calibrate import (
    DEFAULT_METHOD,
    Ranges,
    measure_ranges,
    write_precision,
)
from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.evaluator import Evaluator, evaluation_key
from safetrip_calibration.frames import FrameSet, SelectedFrames, select_frames
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.pareto_plot import plot_front
from safetrip_calibration.ranges import Progress
from safetrip_calibration.roofline import predict
from safetrip_calibration.scales import parse_method
from safetrip_calibration.search import Point, pareto, search, strain
from safetrip_calibration.thresholds import Limits, Thresholds, load_thresholds
from safetrip_calibration.trials import Trials, cache_folder, trial_key
from safetrip_sdk import atomic
from safetrip_sdk.bundle import Bundle

__all__ = ["MixedOptions", "MixedResult", "calibrate_mixed"]


@dataclass(frozen=True)
class MixedOptions:
    """What the search is to reach.

    Attributes:
        profile: of the device that latencies are predicted for.
        frame_size: (H, W) of its camera's frames.
        latency_ms: limit; None: as fast as the accuracy limits allow.
        thresholds: accuracy limits, those of `mixed`; the package's own by default.
        evaluation_count: frames that each trial is judged on.
        method, count, seed: of the calibration.
    """

    profile: DeviceProfile
    frame_size: tuple[int, int]
    latency_ms: float | None = None
    thresholds: Thresholds | None = None
    evaluation_count: int = 48
    method: str = DEFAULT_METHOD
    count: int = 500
    seed: int = 0


@dataclass(frozen=True)
class MixedResult:
    """What the search found.

    Attributes:
        chosen: the assignment written into the bundle; None when none keeps the accuracy limits.
        feasible: True when it also keeps the latency.
        message: the outcome in words, with the next step when a budget cannot be met.
        sensitivity: block -> metrics with only that block in INT8.
        points, front: everything tried, and its Pareto front.
        report: JSON file; the plot stands beside it as PNG.
    """

    chosen: Point | None
    feasible: bool
    message: str
    sensitivity: Mapping[str, Mapping[str, Any]]
    points: Sequence[Point]
    front: Sequence[Point]
    report: Path


def calibrate_mixed(
    bundle_path: str | Path,
    frames: FrameSet,
    evaluation: FrameSet,
    options: MixedOptions,
    progress: Progress | None = None,
) -> MixedResult:
    """Search, write `mixed` into the bundle, and the report into the cache folder beside it.

    Interrupted, it goes on where it was: every trial is kept.

    Args:
        bundle_path: holds fp32.
        frames: to calibrate on (the training split).
        evaluation: to judge trials on, with truth (the validation split).
        options: limits and device.
        progress: called with (done, total, what).

    Raises:
        FramesError, CalibrationError, BundleChangedError, BundleError: as `calibrate`.
        OSError: a trial or the report cannot be written; names the file. Trials before it are kept.
    """
    bundle = Bundle.open(bundle_path)
    thresholds = options.thresholds or load_thresholds()
    limits = thresholds.limits("mixed")
    judged = select_frames(evaluation, options.evaluation_count, options.seed, "judging trials")
    measured = measure_ranges(bundle, frames, options.count, options.seed, progress)
    trials = _trials(bundle, measured, judged, options, thresholds)
    latency = _Latency(measured, trials, options)
    sensitivity = _sensitivities(trials, progress)
    ranking = _rank(sensitivity, latency, trials)
    chosen, points = search(ranking, trials, latency, limits)
    # The ends of the scale belong on the plot, whatever the search needed.
    points.extend(_point(list(blocks), trials, latency, limits) for blocks in ((), trials.blocks))
    front = pareto(points)
    feasible, message = _verdict(chosen, points, front, options)
    report = cache_folder(bundle.path) / "mixed.json"
    result = MixedResult(chosen, feasible, message, sensitivity, points, front, report)
    _write(bundle, measured, trials, options, result, limits)
    return result


def _trials(
    bundle: Bundle,
    measured: Ranges,
    judged: SelectedFrames,
    options: MixedOptions,
    thresholds: Thresholds,
) -> Trials:
    method = parse_method(options.method)
    key = trial_key(measured, method, evaluation_key(judged, bundle.manifest, thresholds.min_class_share))

    def evaluator() -> Evaluator:
        return Evaluator(measured.graph.model, judged, bundle.manifest, thresholds.min_class_share)

    file = cache_folder(bundle.path) / f"trials-{key}.json"
    return Trials(measured, method, find_blocks(measured.graph), evaluator, file)


class _Latency:
    """Predicted milliseconds with some blocks in FP16."""

    def __init__(self, measured: Ranges, trials: Trials, options: MixedOptions) -> None:
        self._model = measured.graph.model
        self._faults = dict.fromkeys(measured.faults, "fp32")
        self._trials = trials
        self._options = options
        self._known: dict[tuple[str, ...], float] = {}

    def __call__(self, in_float: Collection[str]) -> float:
        key = tuple(sorted(in_float))
        if key not in self._known:
            given = {**dict.fromkeys(self._trials.nodes(key), "fp16"), **self._faults}
            options = self._options
            found = predict(self._model, options.frame_size, options.profile, "int8", given)
            self._known[key] = found.total_ms
        return self._known[key]


def _sensitivities(trials: Trials, progress: Progress | None) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for done, block in enumerate(trials.blocks):
        found[block] = trials([name for name in trials.blocks if name != block])
        if progress:
            progress(done + 1, len(trials.blocks), "sensitivity")
    return found


def _rank(sensitivity: Mapping[str, Mapping[str, Any]], latency: _Latency, trials: Trials) -> list[str]:
    """Blocks by what they lose for each millisecond saved, the worst bargain first.

    What is lost is counted against FP32's own outputs: on tens of frames mIoU's noise hides one block.
    """
    all_float = latency(list(trials.blocks))

    def bargain(block: str) -> float:
        metrics = sensitivity[block]
        # Depth that is no number has no error: nothing is lost more.
        depth = math.inf if depth_faults(metrics) else metrics["depth_error_to_fp32"]
        lost = (1.0 - metrics["label_agreement"]) + depth
        saved = all_float - latency([name for name in trials.blocks if name != block])
        return float(lost / max(saved, 1e-6))

    return sorted(trials.blocks, key=bargain, reverse=True)


def _point(blocks: Sequence[str], trials: Trials, latency: _Latency, limits: Limits) -> Point:
    metrics = trials(blocks)
    return Point(tuple(blocks), latency(blocks), strain(metrics, limits), metrics)


def _verdict(
    chosen: Point | None, points: Sequence[Point], front: Sequence[Point], options: MixedOptions
) -> tuple[bool, str]:
    device = f"{options.profile.name} (predicted)"
    step = "next step: quantisation-aware training (`trainer fit --quantize int8`)"
    if not front:
        faults = "; ".join(depth_faults(points[-1].metrics))
        return False, f"with no assignment is every figure a number: with all blocks in FP16 {faults}; {step}"
    if chosen is None:
        best = min(front, key=lambda point: point.strain)
        return False, (
            f"no assignment keeps the accuracy limits: the best tried uses {best.strain:.2f} times a limit "
            f"at {best.latency_ms:.2f} ms on {device}; {step}"
        )
    told = f"{len(chosen.in_float)} blocks in FP16, {chosen.latency_ms:.2f} ms on {device}"
    if options.latency_ms is not None and chosen.latency_ms > options.latency_ms:
        fastest = front[0]
        return False, (
            f"the fastest assignment within the accuracy limits has {told}, above {options.latency_ms:g} ms; "
            f"the fastest tried has {fastest.latency_ms:.2f} ms at {fastest.strain:.2f} times an accuracy "
            f"limit; {step}, or a smaller net or input"
        )
    return True, f"{told}, {100 * chosen.strain:.0f} % of the accuracy limits used"


def _write(
    bundle: Bundle,
    measured: Ranges,
    trials: Trials,
    options: MixedOptions,
    result: MixedResult,
    limits: Limits,
) -> None:
    read = ModelsRead.of(bundle, ["fp32"])
    read.check(Bundle.open(bundle.path).manifest)  # before a report of another net's search is left
    report = {
        "message": result.message,
        "feasible": result.feasible,
        "device": options.profile.name,
        "frame_size": list(options.frame_size),
        "latency_limit_ms": options.latency_ms,
        "accuracy_limits": {name: value for name, value in vars(limits).items() if value is not None},
        "assignment": _assignment(trials, result.chosen),
        "front": [_point_dict(point) for point in result.front],
        "points": [_point_dict(point) for point in result.points],
        "sensitivity": result.sensitivity,
    }
    result.report.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(result.report, json.dumps(report, indent=1, allow_nan=False))
    title = f"INT8/FP16 on {options.profile.name}"
    png = result.report.with_suffix(".png")
    plot_front(result.points, result.front, result.chosen, title, options.latency_ms, png)
    if result.chosen is None:
        return
    method = parse_method(options.method)
    made = measured.build("int8", method, trials.nodes(result.chosen.in_float))
    extra = {"assignment": report["assignment"], "front": report["front"], "message": result.message}
    with read.edit() as draft:
        write_precision(draft, "mixed", made, measured, str(method), extra)


def _assignment(trials: Trials, chosen: Point | None) -> dict[str, str]:
    if chosen is None:
        return {}
    return {block: "fp16" if block in chosen.in_float else "int8" for block in trials.blocks}


def _point_dict(point: Point) -> dict[str, Any]:
    names = (
        "miou_drop",
        "class_iou_drop",
        "worst_class",
        "delta1_drop",
        "label_agreement",
        "depth_error_to_fp32",
        "depth_not_finite",
    )
    return {
        "in_float": list(point.in_float),
        "latency_ms": point.latency_ms,
        "strain": point.strain if math.isfinite(point.strain) else None,
        **{name: point.metrics.get(name) for name in names},
    }
