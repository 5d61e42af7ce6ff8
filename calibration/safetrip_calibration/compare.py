"""Every precision and backend present, on the same frames, against FP32 on onnxruntime.

Frames are streamed: each is read once, goes through every runner, and only sums are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.frames import FramesDigest, FrameSet, LabelledFrame, require_frames
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.ranges import Progress
from safetrip_calibration.runners import RUNTIME_BACKENDS, make_runner, quiet
from safetrip_calibration.scoring import Score, score_metrics
from safetrip_calibration.thresholds import Thresholds, load_thresholds
from safetrip_sdk.backends import probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.errors import BackendUnavailableError, EngineError
from safetrip_sdk.manifest import PrecisionInfo

__all__ = ["BACKENDS", "REFERENCE", "Candidate", "Comparison", "compare"]

BACKENDS = ("onnxruntime", *RUNTIME_BACKENDS)
REFERENCE = ("fp32", "onnxruntime")


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
        standing: "precision backend: violations" of earlier comparisons, on backends that were not compared
            again: the manifest goes on rejecting the precision.
    """

    reference: Candidate
    candidates: tuple[Candidate, ...]
    unavailable: dict[str, str]
    frames: int
    frames_sha256: str
    models: ModelsRead
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


def compare(
    bundle_path: str | Path,
    frames: FrameSet,
    precisions: Sequence[str] | None = None,
    backends: Sequence[str] | None = None,
    thresholds: Thresholds | None = None,
    progress: Progress | None = None,
    write: bool = True,
) -> Comparison:
    """Compare, judge by `thresholds`, and write metrics and verdicts into the bundle's manifest.

    The reference always runs; like everything else it is written only where it was asked for.

    Args:
        bundle_path: a bundle that holds fp32.
        frames: with truth where there is any.
        precisions: which; all that the bundle holds by default.
        backends: which; all that are present by default.
        thresholds: `load_thresholds()` by default.
        progress: called with (frames done, total, what).
        write: False leaves the bundle alone.

    Raises:
        FramesError: there is no frame.
        CalibrationError: no fp32, a precision that the bundle does not hold, or a backend asked for that is
            unknown or cannot run here.
        BundleChangedError: a model was replaced while it was compared.
    """
    quiet()
    require_frames(frames, "comparison")
    bundle = Bundle.open(bundle_path)
    limits = thresholds or load_thresholds()
    pairs = _pairs(bundle, precisions, backends)
    unavailable: dict[str, str] = {}
    with ExitStack() as stack:
        first = frames[0].frame
        runners = _activate(stack, bundle, pairs, first, unavailable)
        _require_asked(backends or (), runners, unavailable)
        scores = {pair: Score(bundle.manifest) for pair in runners}
        digest = FramesDigest()
        for done, item in enumerate(_stream(frames)):
            digest.update(item)
            _feed(item, bundle.manifest.input.name, runners, scores)
            if progress:
                progress(done + 1, len(frames), "compare")
    result = _judge(bundle, scores, limits, unavailable, len(frames), digest.hexdigest())
    if not write:
        result.models.check(Bundle.open(bundle_path).manifest)
        return result
    asked = "fp32" in (precisions or ("fp32",)) and "onnxruntime" in (backends or ("onnxruntime",))
    rows = (result.reference, *result.candidates) if asked else result.candidates
    return replace(result, standing=_write(result, rows, limits))


def _pairs(
    bundle: Bundle, precisions: Sequence[str] | None, backends: Sequence[str] | None
) -> list[tuple[str, str]]:
    present = bundle.manifest.precisions
    wanted = list(precisions or present)
    for name in ("fp32", *wanted):
        if name not in present:
            hint = "`trainer export`" if name == "fp32" else f"`trainer calibrate --precision {name}`"
            raise CalibrationError(f"{bundle.path}: holds no {name} model; make it with {hint}")
    for name in backends or ():
        if name not in BACKENDS:
            raise CalibrationError(f"backend {name!r}: want one of {', '.join(BACKENDS)}")
    pairs = [(precision, backend) for precision in wanted for backend in backends or BACKENDS]
    return [REFERENCE, *(pair for pair in pairs if pair != REFERENCE)]


def _activate(
    stack: ExitStack,
    bundle: Bundle,
    pairs: Sequence[tuple[str, str]],
    frame: NDArray[np.uint8],
    unavailable: dict[str, str],
) -> dict[tuple[str, str], BaseRunner]:
    """Runners that work here, each tried on one frame; the others' reasons go into `unavailable`."""
    runners: dict[tuple[str, str], BaseRunner] = {}
    for backend in dict.fromkeys(backend for _, backend in pairs):
        found = probe(backend)
        if not found.available:
            unavailable[backend] = " ".join(found.reason.split())
    for precision, backend in pairs:
        if backend in unavailable:
            continue
        runner = make_runner(bundle, precision, backend)
        try:
            with ExitStack() as attempt:
                attempt.enter_context(runner)
                runner.infer({bundle.manifest.input.name: frame[None]})
                stack.push(attempt.pop_all())
        except (BackendUnavailableError, EngineError) as error:
            unavailable[f"{precision} {backend}"] = " ".join(str(error).split())
        else:
            runners[precision, backend] = runner
    return runners


def _require_asked(
    backends: Sequence[str], runners: Mapping[tuple[str, str], BaseRunner], unavailable: Mapping[str, str]
) -> None:
    """CalibrationError for a backend asked for by name that ran nothing: no verdict is no acceptance."""
    ran = {backend for _, backend in runners}
    for name in backends:
        if name not in ran:
            reasons = (why for what, why in unavailable.items() if what.split()[-1] == name)
            raise CalibrationError(
                f"backend {name} cannot run here: {next(reasons, 'for an unknown reason')}"
            )


def _stream(frames: FrameSet) -> Iterator[LabelledFrame]:
    return (frames[index] for index in range(len(frames)))


def _feed(
    item: LabelledFrame,
    input_name: str,
    runners: Mapping[tuple[str, str], BaseRunner],
    scores: Mapping[tuple[str, str], Score],
) -> None:
    feed = {input_name: np.ascontiguousarray(item.frame)[None]}
    # A runner may reuse its output memory at its next call: nothing of this frame is kept until then.
    reference = runners[REFERENCE].infer(feed, check_inputs=False)
    for pair, runner in runners.items():
        outputs = reference if pair == REFERENCE else runner.infer(feed, check_inputs=False)
        scores[pair].update(item, outputs, reference)


def _judge(
    bundle: Bundle,
    scores: Mapping[tuple[str, str], Score],
    thresholds: Thresholds,
    unavailable: dict[str, str],
    count: int,
    sha256: str,
) -> Comparison:
    names = bundle.manifest.class_names
    candidates = []
    for (precision, backend), score in scores.items():
        metrics = score_metrics(score, scores[REFERENCE], names, thresholds.min_class_share)
        limits = thresholds.limits(precision)
        crossed, unjudged = limits.violations(metrics), limits.unjudged(metrics)
        candidates.append(Candidate(precision, backend, metrics, tuple(crossed), tuple(unjudged)))
    read = ModelsRead.of(bundle, dict.fromkeys(precision for precision, _ in scores))
    return Comparison(candidates[0], tuple(candidates[1:]), unavailable, count, sha256, read, names)


def _write(result: Comparison, rows: Sequence[Candidate], thresholds: Thresholds) -> tuple[str, ...]:
    """Put `rows` into the manifest: limits, figures by backend, and each precision's verdict.

    A precision is accepted where every backend that it was ever compared on accepts it: what another machine
    found, or an earlier comparison of more, is not undone by one that leaves it out. Returns `standing`.
    """
    standing: list[str] = []
    with result.models.edit() as draft:
        precisions: dict[str, PrecisionInfo] = dict(draft.manifest.precisions)
        for name in dict.fromkeys(item.precision for item in rows):
            compared: dict[str, Any] = {
                "frames": result.frames,
                "frames_sha256": result.frames_sha256,
                "limits": thresholds.limits(name).asked,
                "min_class_share": thresholds.min_class_share,
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
    return tuple(standing)


def _row(item: Candidate) -> dict[str, Any]:
    return {**item.metrics, "violations": list(item.violations), "unjudged": list(item.unjudged)}


def _kept_rows(info: PrecisionInfo, compared: Mapping[str, Any], new: Collection[str]) -> dict[str, Any]:
    """Of backends that did not run again, with the frames and limits of their own comparison."""
    before = info.metrics.get("compare", {})
    about = {key: before[key] for key in compared if key in before}
    rows = before.get("backends", {})
    return {backend: {**about, **row} for backend, row in rows.items() if backend not in new}
