"""FP16, INT8 and their mixture, written into a bundle from its FP32 graph and real frames."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnx import ModelProto

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.fp16 import cast_graph
from safetrip_calibration.frames import (
    FramesDigest,
    FrameSet,
    LabelledFrame,
    SelectedFrames,
    require_frames,
    select_frames,
)
from safetrip_calibration.graph import Graph, load
from safetrip_calibration.half_range import half_faults, half_tensors
from safetrip_calibration.int8 import insert_qdq
from safetrip_calibration.models_read import ModelsRead
from safetrip_calibration.placement import Placement, place
from safetrip_calibration.ranges import Progress, TensorRange, collect_ranges
from safetrip_calibration.scales import Method, make_scales, parse_method
from safetrip_sdk.bundle import Bundle, BundleDraft
from safetrip_sdk.manifest import Manifest, PrecisionInfo

__all__ = [
    "DEFAULT_METHOD",
    "Calibration",
    "CalibrationResult",
    "Ranges",
    "calibrate",
    "drop_engines",
    "measure_ranges",
    "open_fp32",
    "ranges_of",
]

DEFAULT_METHOD = "percentile:99.999"
PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class CalibrationResult:
    """What calibration made.

    Attributes:
        models: precision -> file name in the bundle.
        frames: how many frames were used; `frames_sha256` is over their names and pixels.
        kept_fp32: node name -> why it could not become FP16.
        skipped: node name -> why it stayed float in the INT8 graph.
        quantised: names of the nodes that run in INT8.
        seconds: for all of it.
    """

    models: dict[str, str]
    frames: int
    frames_sha256: str
    kept_fp32: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    quantised: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ranges:
    """The FP32 graph and what its tensors were on the frames chosen."""

    graph: Graph
    ranges: dict[str, TensorRange]
    frames: SelectedFrames
    sha256: str
    seed: int

    @property
    def faults(self) -> dict[str, str]:
        """Node name -> why FP16 cannot hold it."""
        return half_faults(self.graph, self.ranges)

    def build(self, precision: str, method: Method, exclude: Sequence[str] = ()) -> Calibration:
        """The model of one precision: `fp16`, or INT8 with the nodes in `exclude` left in float."""
        faults = self.faults
        if precision == "fp16":
            return Calibration(cast_graph(self.graph.model, faults), faults, None)
        plan = place(self.graph, exclude)
        scales = make_scales({name: self.ranges[name] for name in plan.scale_of.values()}, method)
        means = {name: item.means for name, item in self.ranges.items() if item.means is not None}
        model = insert_qdq(self.graph, plan, scales, means)
        return Calibration(cast_graph(model, faults), faults, plan)


@dataclass(frozen=True)
class Calibration:
    """A model made, the nodes kept in FP32, and for INT8 the placement."""

    model: ModelProto
    kept_fp32: dict[str, str]
    plan: Placement | None


def calibrate(
    bundle_path: str | Path,
    frames: FrameSet,
    precision: str | Sequence[str] = "int8",
    method: str = DEFAULT_METHOD,
    count: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Make FP16 and/or INT8 from a bundle's FP32 graph and write them into the bundle, all or nothing.

    Args:
        bundle_path: a bundle that holds fp32.
        frames: real frames, such as the training split; `select_frames` chooses among them.
        precision: `"fp16"`, `"int8"` or several; all share one pass over the frames.
        method: of `scales.parse_method`.
        count: of `select_frames`.
        seed: of `select_frames`.
        progress: called with (done, total, what).

    Raises:
        FramesError: there is no frame.
        CalibrationError: an unknown precision or method, no fp32 in the bundle, values that are not finite.
        BundleChangedError: the bundle's fp32 was replaced meanwhile.
        BundleError: the bundle cannot be read or written; it is then what it was.
    """
    began = time.monotonic()
    wanted = (precision,) if isinstance(precision, str) else tuple(precision)
    for name in wanted:
        if name not in PRECISIONS:
            raise CalibrationError(f"precision {name!r}: want one of {', '.join(PRECISIONS)}")
    chosen = parse_method(method)
    bundle = Bundle.open(bundle_path)
    measured = measure_ranges(bundle, frames, count, seed, progress)
    made = {name: measured.build(name, chosen) for name in wanted}
    with ModelsRead.of(bundle, ["fp32"]).edit() as draft:
        for name, item in made.items():
            write_precision(draft, name, item, measured, str(chosen))
    kept = {node: why for item in made.values() for node, why in item.kept_fp32.items()}
    plan = made["int8"].plan if "int8" in made else None
    return CalibrationResult(
        models={name: model_file(name) for name in wanted},
        frames=len(measured.frames),
        frames_sha256=measured.sha256,
        kept_fp32=kept,
        skipped=dict(plan.skipped) if plan else {},
        quantised=quantised_nodes(plan) if plan else (),
        seconds=time.monotonic() - began,
    )


def open_fp32(bundle: Bundle) -> Graph:
    """The bundle's FP32 graph; CalibrationError when the bundle holds none."""
    info = bundle.manifest.precisions.get("fp32")
    if info is None:
        raise CalibrationError(
            f"{bundle.path}: holds no fp32 model to start from; make the bundle with `trainer export`"
        )
    return Graph(load(bundle.read(info.file)))


def measure_ranges(
    bundle: Bundle, frames: FrameSet, count: int, seed: int, progress: Progress | None = None
) -> Ranges:
    """`ranges_of` a bundle's FP32 graph."""
    return ranges_of(open_fp32(bundle), frames, count, seed, progress)


def ranges_of(
    graph: Graph, frames: FrameSet, count: int, seed: int, progress: Progress | None = None
) -> Ranges:
    """Choose frames and run the FP32 graph over them once, watching what FP16 and INT8 need to know."""
    require_frames(frames, "calibration")
    selected = select_frames(frames, count, seed)
    digest = FramesDigest()
    watched = dict.fromkeys([*half_tensors(graph), *place(graph).scale_of.values()])
    ranges = collect_ranges(graph.model, list(watched), _digested(selected, digest), len(selected), progress)
    return Ranges(graph, ranges, selected, digest.hexdigest(), seed)


def model_file(precision: str) -> str:
    """The model's file name in a bundle."""
    return f"model.{precision}.onnx"


def quantised_nodes(plan: Placement) -> tuple[str, ...]:
    """Names of the nodes that read INT8, sorted."""
    return tuple(sorted({node for readers in plan.readers.values() for node, _ in readers}))


def write_precision(
    draft: BundleDraft,
    precision: str,
    made: Calibration,
    measured: Ranges,
    method: str,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Put a model and what it was made from into the draft; what was measured of its predecessor goes."""
    draft.write(model_file(precision), made.model.SerializeToString(deterministic=True))
    manifest = draft.manifest
    record = {
        "method": method if made.plan else None,
        "count": len(measured.frames),
        "seed": measured.seed,
        "frames_sha256": measured.sha256,
        "kept_fp32": made.kept_fp32,
        "skipped": made.plan.skipped if made.plan else {},
        **(extra or {}),
    }
    history = {**manifest.calibration.get("precisions", {}), precision: record}
    # The frames of the latest pass; the record of each precision says by its hash which frames it saw.
    calibration = {
        "method": method,
        "count": len(measured.frames),
        "seed": measured.seed,
        "frames": list(measured.frames.names),
        "frames_sha256": measured.sha256,
        "precisions": history,
    }
    # A new graph has the temperature of the FP32 graph that it was made from; its own fit is gone.
    confidence = {
        name: fit for name, fit in manifest.calibration.get("confidence", {}).items() if name != precision
    }
    if confidence:
        calibration["confidence"] = confidence
    draft.manifest = replace(
        manifest,
        precisions={**manifest.precisions, precision: PrecisionInfo(model_file(precision))},
        calibration=calibration,
        latency=tuple(item for item in manifest.latency if item.get("precision") != precision),
        tools={**manifest.tools, **{name: version(name) for name in ("onnx", "onnxruntime")}},
    )
    drop_engines(draft, manifest, precision)


def drop_engines(draft: BundleDraft, manifest: Manifest, precision: str) -> None:
    """Takes a precision's engines out: built from the model that was replaced, they compute it still."""
    for name in manifest.files:
        if name.startswith("engines/") and Path(name).stem.endswith(f"-{precision}"):
            draft.remove(name)


def _digested(frames: SelectedFrames, digest: FramesDigest) -> Iterator[LabelledFrame]:
    for item in frames:
        digest.update(item)
        yield item
