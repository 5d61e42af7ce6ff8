"""Every precision and backend present, on the same frames, against FP32 on onnxruntime.

Frames are streamed: each is read once, goes through every runner, and only sums are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner

from safetrip_calibration.comparison import Candidate, Comparison
from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.frames import FramesDigest, FrameSet, LabelledFrame, require_frames
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.ranges import Progress
from safetrip_calibration.runners import RUNTIME_BACKENDS, make_runner, quiet
from safetrip_calibration.scoring import Score, score_metrics
from safetrip_calibration.thresholds import Thresholds, load_thresholds
from safetrip_calibration.verdicts import record_verdicts
from safetrip_sdk.backends import probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.errors import BackendUnavailableError, EngineError

__all__ = ["BACKENDS", "REFERENCE", "compare"]

BACKENDS = ("onnxruntime", *RUNTIME_BACKENDS)
REFERENCE = ("fp32", "onnxruntime")


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

    The reference always runs; like everything else it is written only where it was asked for. A full disk
    costs no figures where they are kept between `write=False` and `record_verdicts`.

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
    unavailable: dict[str, str] = {}
    pairs = _pairs(bundle, precisions, backends)
    scores, sha256 = _scored(bundle, frames, pairs, backends or (), unavailable, progress)
    read = ModelsRead.of(bundle, dict.fromkeys(precision for precision, _ in scores))
    read.check(Bundle.open(bundle_path).manifest)
    reference, *candidates = _judged(bundle, scores, limits)
    asked = "fp32" in (precisions or ("fp32",)) and "onnxruntime" in (backends or ("onnxruntime",))
    result = Comparison(
        reference,
        tuple(candidates),
        unavailable,
        len(frames),
        sha256,
        read,
        limits,
        asked,
        bundle.manifest.class_names,
    )
    return record_verdicts(result) if write else result


def _scored(
    bundle: Bundle,
    frames: FrameSet,
    pairs: Sequence[tuple[str, str]],
    asked: Sequence[str],
    unavailable: dict[str, str],
    progress: Progress | None,
) -> tuple[dict[tuple[str, str], Score], str]:
    """Every pair that runs here, on every frame, and the frames' sha256; why others do not run is added."""
    with ExitStack() as stack:
        runners = _activate(stack, bundle, pairs, frames[0].frame, unavailable)
        _require_asked(asked, runners, unavailable)
        scores = {pair: Score(bundle.manifest) for pair in runners}
        digest = FramesDigest()
        for done, item in enumerate(_stream(frames)):
            digest.update(item)
            _feed(item, bundle.manifest.input.name, runners, scores)
            if progress:
                progress(done + 1, len(frames), "compare")
    return scores, digest.hexdigest()


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


def _judged(
    bundle: Bundle, scores: Mapping[tuple[str, str], Score], thresholds: Thresholds
) -> Iterator[Candidate]:
    names = bundle.manifest.class_names
    for (precision, backend), score in scores.items():
        metrics = score_metrics(score, scores[REFERENCE], names, thresholds.min_class_share)
        limits = thresholds.limits(precision)
        crossed, unjudged = limits.violations(metrics), limits.unjudged(metrics)
        yield Candidate(precision, backend, metrics, tuple(crossed), tuple(unjudged))
