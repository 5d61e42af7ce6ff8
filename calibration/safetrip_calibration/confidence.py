"""Confidence that means what it says: of the pixels that are 80 % sure, 80 % should be right.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599): the
logits are divided by one number before the softmax that gives the confidence, chosen on labelled frames.
Labels stay what they were. The number is part of each precision's graph, so that no backend can
forget it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from safetrip_calibration.accuracy import to_size
from safetrip_calibration.calibrate import drop_engines
from safetrip_calibration.errors import CalibrationError, FramesError, GraphError
from safetrip_calibration.frames import (
    IGNORE,
    FramesDigest,
    FrameSet,
    LabelledFrame,
    SelectedFrames,
    select_frames,
)
from safetrip_calibration.graph import Graph, check, load
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.ranges import Progress
from safetrip_calibration.runners import onnx_session
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.manifest import Manifest

__all__ = [
    "ConfidenceResult",
    "ReliabilityBins",
    "calibrate_confidence",
    "fit_temperature",
    "require_labels",
    "set_temperature",
    "temperature_of",
]

_NODE = "confidence_temperature"
_PIXELS = 2048  # sampled of each frame to fit on: neighbours say the same
_TOO_FEW = "confidence needs at least two frames with class labels; take another split, or more frames"
_LIMITS = (0.05, 20.0)  # of the temperature


@dataclass(frozen=True)
class ConfidenceResult:
    """One precision's confidence before and after, on frames that the temperature was not fitted on.

    Attributes:
        temperature: that the logits are divided by; 1 is none.
        ece_before, ece_after: expected calibration error, 0 to 1.
        accuracy: share of the labelled pixels that are right.
        fitted_on, measured_on: numbers of frames.
        frames_sha256: over names and pixels of all of them.
    """

    temperature: float
    ece_before: float
    ece_after: float
    accuracy: float
    fitted_on: int
    measured_on: int
    frames_sha256: str


class ReliabilityBins:
    """Confidence against accuracy in bins of equal width, accumulated frame by frame.

    Args:
        bins: how many; 15 is what the literature uses.
    """

    def __init__(self, bins: int = 15) -> None:
        self.pixels = np.zeros(bins, np.int64)
        self.right = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)

    def update(self, confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> None:
        """Add pixels: how sure, 0 to 1, and whether the label was right; equal shapes."""
        bins = len(self.pixels)
        # A confidence on a boundary belongs to the bin below it, as in Guo et al.
        index = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1).reshape(-1)
        self.pixels += np.bincount(index, minlength=bins)
        self.right += np.bincount(index[right.reshape(-1)], minlength=bins)
        self.confidence += np.bincount(index, confidence.reshape(-1), minlength=bins)

    @property
    def accuracy(self) -> float:
        """Share of all pixels that are right."""
        return float(self.right.sum() / self.pixels.sum())

    @property
    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| of the bins, by their pixels."""
        gaps = np.abs(self.right - self.confidence)
        return float(gaps.sum() / self.pixels.sum())


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """The temperature whose confidence is likeliest, given which pixels turned out right.

    What a robot gets is how sure the net is of the label it gives, so that is what is fitted: the log loss of
    "right with probability c", c being the largest class probability (top-label calibration, Gupta & Ramdas
    2022, arXiv 2107.08353), by golden section over the logarithm of the temperature.

    Args:
        logits: (N, classes).
        labels: (N,) class ids.

    Raises:
        CalibrationError: there is no pixel, or a logit is not finite.
    """
    scores = np.asarray(logits, np.float64)
    if len(scores) == 0 or not np.isfinite(scores).all():
        raise CalibrationError(
            "confidence cannot be fitted: no labelled pixel, or logits that are not finite"
        )
    right = scores.argmax(axis=1) == labels
    below = scores - scores.max(axis=1, keepdims=True)

    def loss(log_temperature: float) -> float:
        sure = 1 / np.exp(below / np.exp(log_temperature)).sum(axis=1)
        chance = np.clip(np.where(right, sure, 1 - sure), 1e-9, None)
        return float(-np.log(chance).mean())

    return float(np.exp(_golden_section(loss, np.log(_LIMITS[0]), np.log(_LIMITS[1]))))


def _golden_section(function: Callable[[float], float], low: float, high: float, steps: int = 30) -> float:
    """Where a function with one minimum between `low` and `high` has it, within 1e-6 of their distance."""
    share = (np.sqrt(5) - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(steps):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = function(right)
    return float(low + high) / 2


def temperature_of(model: ModelProto) -> float:
    """The temperature in a deploy graph; 1 where it has none."""
    graph = Graph(model)
    factor = next((node for node in graph.nodes if node.name == _NODE), None)
    value = None if factor is None else graph.constant(factor.input[1])
    return 1.0 if value is None else float(1 / value)


def set_temperature(model: ModelProto, temperature: float) -> ModelProto:
    """A deploy graph whose confidence is that of logits divided by `temperature`; replaces an earlier one.

    Raises:
        GraphError: the graph has no confidence.
    """
    graph = Graph(model)
    softmax = _softmax(graph)
    source = softmax.input[0]
    factor = np.asarray(1 / temperature, helper.tensor_dtype_to_np_dtype(graph.types[source]))
    constant = f"{_NODE}_inverse"
    changed = graph.model
    kept = [item for item in changed.graph.initializer if item.name != constant]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend([*kept, numpy_helper.from_array(factor, constant)])
    if _NODE not in {node.name for node in graph.nodes}:
        scaled = helper.make_node("Mul", [source, constant], [_NODE], name=_NODE)
        position = list(changed.graph.node).index(softmax)
        softmax.input[0] = _NODE
        changed.graph.node.insert(position, scaled)
    del changed.graph.value_info[:]
    check(changed)
    return changed


def _softmax(graph: Graph) -> NodeProto:
    found = next((node for node in graph.nodes if node.op_type == "Softmax"), None)
    if found is None or "confidence" not in graph.outputs:
        raise GraphError("the graph has no confidence output to calibrate; export the bundle again")
    return found


def calibrate_confidence(
    bundle_path: str | Path,
    frames: FrameSet,
    count: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, ConfidenceResult]:
    """Fit a temperature for each precision of a bundle and write it into its graph, all or nothing.

    Every other frame is fitted on; what confidence was worth before and after is measured on the rest.

    Args:
        bundle_path: the bundle.
        frames: with labels, and not those that the net was trained on: the validation split.
        count: of `select_frames`, over the frames that have labels.
        seed: of `select_frames`.
        progress: called with (done, total, what).

    Returns:
        Precision -> result; in the manifest under `calibration.confidence`, too.

    Raises:
        FramesError: fewer than two of the frames have a labelled pixel.
        GraphError: a precision's graph gives no confidence.
        CalibrationError: logits are not finite.
        BundleChangedError: a model was replaced meanwhile.
    """
    bundle = Bundle.open(bundle_path)
    chosen = _labelled(frames, count, seed, bundle.manifest)
    results: dict[str, ConfidenceResult] = {}
    models: dict[str, ModelProto] = {}
    for precision, info in bundle.manifest.precisions.items():
        model = load(bundle.read(info.file))
        models[info.file], results[precision] = _calibrate_model(model, chosen, precision, progress)
    with ModelsRead.of(bundle, results).edit() as draft:
        for name, changed in models.items():
            draft.write(name, changed.SerializeToString(deterministic=True))
        manifest = draft.manifest
        record = {precision: asdict(result) for precision, result in results.items()}
        draft.manifest = replace(manifest, calibration={**manifest.calibration, "confidence": record})
        for precision in results:
            drop_engines(draft, manifest, precision)
    return results


def _labelled(frames: FrameSet, count: int, seed: int, manifest: Manifest) -> SelectedFrames:
    """Frames with a class label at one pixel of the net's size at least, whatever their source."""
    having = [index for index, labelled in enumerate(frames.labelled) if labelled]
    if having:
        chosen = select_frames(SelectedFrames(frames, having), count, seed)
        # A mask may be there and hold nothing but 255.
        named = [index for index, item in enumerate(chosen) if _has_labels(item, manifest)]
        if len(named) >= 2:
            return SelectedFrames(chosen, named)
    raise FramesError(_TOO_FEW)


def require_labels(bundle_path: str | Path, frames: FrameSet) -> None:
    """Whether there is anything to calibrate confidence on, known before other work changes the bundle.

    Raises:
        FramesError: fewer than two frames have a class label.
        BundleError: the bundle cannot be read.
    """
    manifest = Bundle.open(bundle_path).manifest
    having = (index for index, labelled in enumerate(frames.labelled) if labelled)
    found = (index for index in having if _has_labels(frames[index], manifest))
    if len([*islice(found, 2)]) < 2:
        raise FramesError(_TOO_FEW)


def _has_labels(item: LabelledFrame, manifest: Manifest) -> bool:
    if item.labels is None:
        return False
    truth = to_size(item.labels, (manifest.input.height, manifest.input.width))
    return bool((truth.astype(np.intp) < len(manifest.classes)).any())


def _calibrate_model(
    model: ModelProto, frames: SelectedFrames, precision: str, progress: Progress | None
) -> tuple[ModelProto, ConfidenceResult]:
    digest = FramesDigest()
    samples = []
    session, logits = _session_with_logits(model)
    for position in range(0, len(frames), 2):
        item = frames[position]
        digest.update(item)
        (scores,) = session.run([logits], {"frame": item.frame[None]})
        samples.append(_labelled_pixels(scores[0], item, np.random.default_rng(position)))
        if progress:
            progress(position // 2 + 1, len(frames), f"confidence {precision}")
    scores, labels = (np.concatenate(parts) for parts in zip(*samples))
    # As without the temperature of an earlier fit.
    temperature = fit_temperature(scores * temperature_of(model), labels)
    changed = set_temperature(model, temperature)
    # Before: as if there were no temperature, whatever an earlier fit left in the graph.
    plain = onnx_session(set_temperature(model, 1.0).SerializeToString())
    scaled = onnx_session(changed.SerializeToString())
    before, after = ReliabilityBins(), ReliabilityBins()
    measured = range(1, len(frames), 2)
    for done, position in enumerate(measured):
        item = frames[position]
        digest.update(item)
        for model_session, bins in ((plain, before), (scaled, after)):
            _reliability(model_session, item, bins)
        if progress:
            progress((len(frames) + 1) // 2 + done + 1, len(frames), f"confidence {precision}")
    return changed, ConfidenceResult(
        temperature=temperature,
        ece_before=before.error,
        ece_after=after.error,
        accuracy=after.accuracy,
        fitted_on=len(samples),
        measured_on=len(measured),
        frames_sha256=digest.hexdigest(),
    )


def _session_with_logits(model: ModelProto) -> tuple[onnxruntime.InferenceSession, str]:
    """A session that gives what the softmax reads, and that tensor's name."""
    watched = ModelProto()
    watched.CopyFrom(model)
    name = _softmax(Graph(model)).input[0]
    watched.graph.output.append(helper.make_empty_tensor_value_info(name))
    return onnx_session(watched.SerializeToString()), name


def _labelled_pixels(
    scores: NDArray[np.floating[Any]], item: LabelledFrame, rng: np.random.Generator
) -> tuple[NDArray[np.floating[Any]], NDArray[np.integer[Any]]]:
    """At most _PIXELS of a frame's (classes, h, w) logits, and their labels."""
    assert item.labels is not None
    truth = to_size(item.labels, scores.shape[1:]).reshape(-1)
    known = np.flatnonzero(truth < scores.shape[0])
    taken = rng.choice(known, min(_PIXELS, len(known)), replace=False)
    return scores.reshape(scores.shape[0], -1)[:, taken].T, truth[taken].astype(np.intp)


def _reliability(session: onnxruntime.InferenceSession, item: LabelledFrame, bins: ReliabilityBins) -> None:
    labels, confidence = session.run(["labels", "confidence"], {"frame": item.frame[None]})
    assert item.labels is not None
    truth = to_size(item.labels, labels.shape[1:])
    known = truth != IGNORE
    bins.update(confidence[0][known] / 255.0, (labels[0] == truth)[known])
