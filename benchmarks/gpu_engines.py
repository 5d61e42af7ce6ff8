"""TensorRT's engines on this GPU: what the library answers, agreement with FP32, times."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_reference import Frames, agreement, faults_of, load_reference, pictures
from gpu_report import Answer, CheckError, Figures
from safetrip_sdk import Bundle, Prediction, Runtime, engines
from safetrip_sdk.backends import probe
from safetrip_sdk.backends.tensorrt import inspect_engine
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import BackendUnavailableError, EngineError, RuntimeFaultError

__all__ = ["EngineJob", "check_engine", "time_calls", "unlisted_capability"]

REFUSALS = (BackendUnavailableError, EngineError, RuntimeFaultError)


@dataclass(frozen=True)
class EngineJob:
    """One engine to be checked: which, from what bundle, held to which reference file, for (H, W) frames."""

    backend: str
    precision: str
    bundle: str
    reference: str
    size: tuple[int, int]


def check_engine(job: EngineJob, answer: Answer) -> None:
    """Build, open, compare and time one engine; what the library refuses is recorded, not hidden."""
    found = probe(job.backend)
    if not found.available:
        answer.add(status="skipped", answer=found.reason)
        return
    answer.add(version=found.version, gpu=found.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.bundle"
        copytree(job.bundle, path)
        unlisted = unlisted_capability(job.backend)
        predictions: list[Prediction] | None
        if unlisted is None:
            predictions = run_engine(path, job, (), answer)
        else:
            predictions = try_unlisted(path, job, unlisted, answer)
    if predictions is not None:
        hold_to_reference(job, predictions, answer)


def unlisted_capability(backend: str) -> str | None:
    """This GPU's compute capability where RTX does not name it among those that it supports.

    Its portable engines leave such GPUs out (those of data centres); whether it runs on one all the same,
    with an engine for that GPU alone, only trying tells.
    """
    if backend != "tensorrt_rtx":
        return None
    here = "SM{}{}".format(*Cuda().compute_capability)
    return None if here in Library(backend).trt.ComputeCapability.__members__ else here


def try_unlisted(path: Path, job: EngineJob, unlisted: str, answer: Answer) -> list[Prediction] | None:
    """The portable engine, then one for this GPU alone; None where the library refuses both: its answer."""
    refusals = []
    for kind, capabilities in (("portable", ()), ("for this GPU alone", ("CURRENT",))):
        try:
            return run_engine(path, job, capabilities, answer)
        except REFUSALS as error:
            refusals.append(f"{kind}: {type(error).__name__}: {error}")
            answer.add(refused=refusals)
    answer.add(
        status="skipped", answer=f"it does not list {unlisted}, and refuses both engines: see `refused`"
    )
    return None


def run_engine(path: Path, job: EngineJob, capabilities: tuple[str, ...], answer: Answer) -> list[Prediction]:
    """Build, open twice (the second start uses the caches), time; what it predicts for the pictures."""
    frames = pictures(job.size)
    target = next(target for target, name in engines.TARGETS.items() if name == job.backend)
    started = time.perf_counter()
    (info,) = engines.build(path, target, job.size, [job.precision], compute_capabilities=capabilities)
    answer.add(file=info.file, build_s=round(time.perf_counter() - started, 2))
    opened: dict[str, list[Any]] = {"open_s": [], "cache_bytes": []}
    medians: dict[str, float] = {}
    predictions: list[Prediction] = []
    for wait in ("block", "spin"):
        started = time.perf_counter()
        options = {"backend": job.backend, "precision": job.precision, "frame_size": job.size}
        with Runtime(path, wait=wait, **options) as runtime:
            opened["open_s"].append(round(time.perf_counter() - started, 3))
            predictions = [runtime(frame) for frame in frames]
            medians[wait] = time_calls(runtime, frames)
            slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]
            answer.add(graph=slot.captured, stages_ms=runtime.stats().to_dict()["stages"])
        kept = Bundle.open(path).manifest.files.get(info.file.removesuffix(".plan") + ".runtime-cache")
        opened["cache_bytes"].append(kept.size if kept else 0)
        answer.add(p50_ms=medians, **opened)
    if job.precision == "int8":
        answer.add(int8=int8_audit(path, info))
    return predictions


def hold_to_reference(job: EngineJob, predictions: list[Prediction], answer: Answer) -> None:
    """FAILED where FP32 or FP16 differs too much; unchecked where there is nothing to compare with."""
    try:
        reference = load_reference(job.bundle, job.reference, job.size)
    except CheckError as error:
        answer.add(status="unchecked", answer=f"no reference (see the check of that name): {error}")
        return
    figures = agreement(reference, predictions)
    answer.add(**figures)
    faults = faults_of(job.precision, figures)
    if faults:
        answer.add(status="FAILED", error="; ".join(faults))


def int8_audit(path: Path, info: engines.EngineInfo) -> Figures | str:
    """How many of the quantised convolutions run in INT8, and what the others run in."""
    try:
        import onnx

        from safetrip_calibration.engine_audit import audit_int8

        bundle = Bundle.open(path)
        layers = inspect_engine(bundle, info)
        audit = audit_int8(
            onnx.load_from_string(bundle.read(bundle.manifest.precisions["int8"].file)), layers
        )
    except Exception as error:  # the inspector's words are those of each version; the timings stand
        return f"not read: {type(error).__name__}: {error}"
    kinds = Counter(f"{layer.kind} in {layer.precision}" for layer in layers)
    return {
        "complete": audit.complete,
        "in_int8": len(audit.int8),
        "wider": audit.wider,
        "not_named": audit.missing,
        "layers": dict(kinds),
        "sample": [asdict(layer) for layer in layers[:8]],
    }


def time_calls(call: Callable[[NDArray[np.uint8]], Any], frames: Frames, rounds: int = 200) -> float:
    """Median milliseconds of a call, frames in turn."""
    for index in range(20):
        call(frames[index % len(frames)])
    times = []
    for index in range(rounds):
        started = time.perf_counter()
        call(frames[index % len(frames)])
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3
