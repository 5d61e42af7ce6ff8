"""TensorRT's engines on this GPU: what the library answers, agreement with FP32, and speed against peers."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk import Bundle, Runtime, engines
from safetrip_sdk.backends import probe
from safetrip_sdk.errors import EngineMismatchError, SafetripError

__all__ = ["PEERS", "check_engine", "check_peer", "speedups"]

Frames = list[NDArray[np.uint8]]
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def pictures(size: tuple[int, int], count: int = 4) -> Frames:
    """Coarse patches with a little noise; noise alone would leave a net undecided everywhere."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (-(-size[0] // 40), -(-size[1] // 40), 3))
        patches = coarse.repeat(40, 0).repeat(40, 1)[: size[0], : size[1]]
        made.append(np.clip(patches + generator.integers(-8, 9, patches.shape), 0, 255).astype(np.uint8))
    return made


def check_engine(backend: str, precision: str, bundle: str | None, size: tuple[int, int]) -> dict[str, Any]:
    """Build, open, compare and time one engine; what the library refuses is recorded, not hidden."""
    found = probe(backend)
    if not found.available:
        return {"status": "skipped", "answer": found.reason}
    assert bundle is not None
    target = next(target for target, name in engines.TARGETS.items() if name == backend)
    result: dict[str, Any] = {"version": found.version, "gpu": found.device}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.bundle"
        copytree(bundle, path)
        try:
            result.update(one_engine(path, target, backend, precision, size))
        except EngineMismatchError as error:
            # RTX's portable engines leave some GPUs out, such as those of data centres.
            result["portable"] = str(error)
            if backend != "tensorrt_rtx":
                raise
            try:
                result.update(one_engine(path, target, backend, precision, size, ("CURRENT",)))
            except SafetripError as refused:
                return {**result, "status": "skipped", "answer": str(refused)}
        if precision == "fp16" and (result["labels_equal"] or 1.0) < 0.995:
            result.update(status="FAILED", error=f"labels_equal: {result['labels_equal']}, want 0.995")
    return result


def one_engine(
    path: Path,
    target: str,
    backend: str,
    precision: str,
    size: tuple[int, int],
    capabilities: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Build, open twice (the second start uses the caches), compare, time."""
    frames = pictures(size)
    started = time.perf_counter()
    (info,) = engines.build(path, target, size, [precision], compute_capabilities=capabilities)
    result: dict[str, Any] = {"file": info.file, "build_s": round(time.perf_counter() - started, 2)}
    result["cache_bytes"], result["open_s"], result["p50_ms"] = [], [], {}
    for wait in ("block", "spin"):
        started = time.perf_counter()
        with Runtime(path, backend=backend, precision=precision, frame_size=size, wait=wait) as runtime:
            result["open_s"].append(round(time.perf_counter() - started, 3))
            predictions = [runtime(frame) for frame in frames]
            result["p50_ms"][wait] = time_calls(lambda frame, runtime=runtime: runtime(frame), frames)
            slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]
            result["graph"] = slot.captured
            result["stages_ms"] = runtime.stats().to_dict()["stages"]
        kept = Bundle.open(path).manifest.files.get(info.file.removesuffix(".plan") + ".runtime-cache")
        result["cache_bytes"].append(kept.size if kept else 0)
    result.update(agreement(path, frames, predictions))
    if precision == "int8":
        try:
            result["int8"] = int8_audit(path, info)
        except Exception as error:  # the inspector's words are those of each version; the timings stand
            result["int8"] = f"not read: {type(error).__name__}: {error}"
    return result


def agreement(path: Path, frames: Frames, predictions: list[Any]) -> dict[str, Any]:
    """Against FP32 in ONNX Runtime on the CPU: share of equal labels, median relative error of the depth."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"labels_equal": None, "depth_error": None, "reference": str(error)}
    bundle = Bundle.open(path)
    session = onnxruntime.InferenceSession(
        bundle.read(bundle.manifest.precisions["fp32"].file), providers=["CPUExecutionProvider"]
    )
    name, equal, errors = bundle.manifest.input.name, [], []
    for frame, prediction in zip(frames, predictions):
        labels, depth = session.run(["labels", "depth"], {name: frame[None]})
        equal.append(float((prediction.labels == labels[0]).mean()))
        errors.append(float(np.median(np.abs(prediction.depth - depth[0]) / depth[0])))
    return {"labels_equal": min(equal), "depth_error": max(errors)}


def int8_audit(path: Path, info: engines.EngineInfo) -> dict[str, Any]:
    """How many of the quantised convolutions run in INT8, and what the others run in."""
    import onnx

    from safetrip_calibration.engine_audit import audit_int8
    from safetrip_sdk.backends.tensorrt import inspect_engine

    bundle = Bundle.open(path)
    layers = inspect_engine(bundle, info)
    audit = audit_int8(onnx.load_from_string(bundle.read(bundle.manifest.precisions["int8"].file)), layers)
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


def check_peer(name: str, bundle: str | None, size: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds of what one would use instead; the answer where it cannot run here."""
    assert bundle is not None
    try:
        with tempfile.TemporaryDirectory() as folder:
            return {"p50_ms": PEERS[name](Path(bundle), Path(folder), pictures(size))}
    except Exception as error:  # a peer that does not run here says nothing against us
        return {"status": "skipped", "answer": f"{type(error).__name__}: {error}"}


def speedups(checks: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times faster our fastest engine is than each peer."""
    own = [
        min(item["p50_ms"].values())
        for name, item in checks.items()
        if isinstance(item.get("p50_ms"), dict) and name not in PEERS
    ]
    return {
        name: checks[name]["p50_ms"] / min(own)
        for name in PEERS
        if own and isinstance(checks.get(name, {}).get("p50_ms"), float)
    }


def preprocess(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """What a user writes before the net."""
    import cv2

    image = cv2.cvtColor(cv2.resize(frame, size[::-1]), cv2.COLOR_BGR2RGB)
    image = (image.astype(np.float32) / 255.0 - MEAN) / STD
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def net_alone(bundle: Bundle, folder: Path) -> tuple[Path, str, str, bool]:
    """The FP16 (else FP32) net between preprocessing and ArgMax: its file, input, logits; takes FP16?"""
    import onnx
    from onnx import utils

    name = "fp16" if "fp16" in bundle.manifest.precisions else "fp32"
    source = bundle.path / bundle.manifest.precisions[name].file
    nodes = onnx.load(source).graph.node
    first = next(node for node in nodes if node.op_type == "Conv").input[0]
    logits = next(node for node in nodes if node.op_type == "ArgMax").input[0]
    net = folder / "net.onnx"
    utils.extract_model(str(source), str(net), [first], [logits, "depth"])
    half = any(
        value.name == first and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        for value in onnx.load(net).graph.input
    )
    return net, first, logits, half


def polygraphy_peer(path: Path, folder: Path, frames: Frames) -> float:
    """TrtRunner on the net alone, preprocessing and argmax in Python."""
    if importlib.util.find_spec("tensorrt") is None:
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # read when polygraphy is imported
    from polygraphy.backend.trt import EngineFromNetwork, NetworkFromOnnxPath, TrtRunner

    bundle = Bundle.open(path)
    net, first, logits, half = net_alone(bundle, folder)
    size = bundle.manifest.input.height, bundle.manifest.input.width
    with TrtRunner(EngineFromNetwork(NetworkFromOnnxPath(str(net), strongly_typed=True))) as runner:

        def call(frame: NDArray[np.uint8]) -> Any:
            image = preprocess(frame, size)
            outputs = runner.infer({first: image.astype(np.float16) if half else image})
            return np.argmax(outputs[logits], axis=1).astype(np.uint8)

        return time_calls(call, frames)


def torch_peer(path: Path, folder: Path, frames: Frames) -> float:
    """torch.compile in FP16 with preprocessing on the CPU."""
    import torch

    from safetrip_trainer.model import HydraNet

    spec = Bundle.open(path).manifest.input
    net = torch.compile(HydraNet().eval().cuda().half())

    def call(frame: NDArray[np.uint8]) -> Any:
        image = torch.from_numpy(preprocess(frame, (spec.height, spec.width))).cuda().half()
        with torch.inference_mode():
            logits, depth = net(image)
            full = torch.nn.functional.interpolate(logits, (spec.height, spec.width), mode="bilinear")
            return full.argmax(1).to(torch.uint8).cpu().numpy(), depth.float().cpu().numpy()

    return time_calls(call, frames)


PEERS: dict[str, Callable[[Path, Path, Frames], float]] = {
    "polygraphy": polygraphy_peer,
    "torch_compile_fp16": torch_peer,
}
