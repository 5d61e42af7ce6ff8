"""TensorRT's engines on this GPU: what the library answers, agreement with FP32, and speed against peers."""

from __future__ import annotations

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
from safetrip_sdk.errors import SafetripError

__all__ = ["engine_checks"]

Frames = list[NDArray[np.uint8]]
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def engine_checks(backend: str, bundle: str | None, frames: Frames) -> dict[str, Any]:
    """Build, open, compare and time one library's engines; what it refuses is recorded, not hidden."""
    found = probe(backend)
    if not found.available:
        return {"status": "skipped", "answer": found.reason}
    if bundle is None:
        return {"status": "skipped", "answer": "no --bundle given", "version": found.version}
    size = frames[0].shape[:2]
    target = next(target for target, name in engines.TARGETS.items() if name == backend)
    result: dict[str, Any] = {"version": found.version, "gpu": found.device, "precisions": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.bundle"
        copytree(bundle, path)
        reference = onnxruntime_labels(path, frames)
        for precision in Bundle.open(path).manifest.precisions:
            try:
                result["precisions"][precision] = one_precision(
                    path, target, backend, precision, size, frames, reference
                )
            except SafetripError as error:
                result["precisions"][precision] = {"answer": f"{type(error).__name__}: {error}"}
        ran = [item for item in result["precisions"].values() if "p50_ms" in item]
        if not ran:
            return {"status": "skipped", **result}
        half = result["precisions"].get("fp16", {})
        if "labels_equal" in half:
            assert half["labels_equal"] >= 0.995, result
        result["peers"] = peers(path, frames)
        best = min(item["p50_ms"] for item in ran)
        for name, milliseconds in result["peers"].items():
            if isinstance(milliseconds, float):
                result[f"speedup_over_{name}"] = milliseconds / best
    return result


def one_precision(
    path: Path,
    target: str,
    backend: str,
    precision: str,
    size: tuple[int, int],
    frames: Frames,
    reference: list[NDArray[np.uint8]],
) -> dict[str, Any]:
    """Build, open twice (the second start uses the caches), compare, time."""
    started = time.perf_counter()
    (info,) = engines.build(path, target, size, [precision])
    built = time.perf_counter() - started
    opened = []
    for _ in range(2):
        started = time.perf_counter()
        with Runtime(path, backend=backend, precision=precision, frame_size=size) as runtime:
            opened.append(round(time.perf_counter() - started, 3))
            pairs = zip(frames, reference)
            equal = [float((runtime(frame).labels == truth).mean()) for frame, truth in pairs]
            milliseconds = time_calls(lambda frame, runtime=runtime: runtime(frame), frames)
            slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]
            captured = slot.captured
    return {
        "int8": int8_audit(path, info) if precision == "int8" else None,
        "file": info.file,
        "build_s": round(built, 2),
        "open_s": opened,
        "graph": captured,
        "labels_equal": min(equal),
        "p50_ms": milliseconds,
    }


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


def onnxruntime_labels(path: Path, frames: Frames) -> list[NDArray[np.uint8]]:
    """FP32 labels from ONNX Runtime, the reference."""
    import onnxruntime

    bundle = Bundle.open(path)
    session = onnxruntime.InferenceSession(
        bundle.read(bundle.manifest.precisions["fp32"].file), providers=["CPUExecutionProvider"]
    )
    name = bundle.manifest.input.name
    return [session.run(["labels"], {name: frame[None]})[0][0] for frame in frames]


def peers(path: Path, frames: Frames) -> dict[str, Any]:
    """Milliseconds of what one would use instead; a text where it cannot run here."""
    results: dict[str, Any] = {}
    for name, peer in (("polygraphy", polygraphy_peer), ("torch_compile_fp16", torch_peer)):
        try:
            results[name] = peer(path, frames)
        except Exception as error:  # a peer that does not run here is a figure, too
            results[name] = f"not run: {type(error).__name__}: {error}"
    return results


def preprocess(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """What a user writes before the net."""
    import cv2

    image = cv2.cvtColor(cv2.resize(frame, size[::-1]), cv2.COLOR_BGR2RGB)
    image = (image.astype(np.float32) / 255.0 - MEAN) / STD
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def polygraphy_peer(path: Path, frames: Frames) -> float:
    """TrtRunner on the net alone, preprocessing and argmax in Python."""
    import onnx
    from onnx import utils
    from polygraphy.backend.trt import EngineFromNetwork, NetworkFromOnnxPath, TrtRunner

    bundle = Bundle.open(path)
    name = "fp16" if "fp16" in bundle.manifest.precisions else "fp32"
    source = path / bundle.manifest.precisions[name].file
    nodes = onnx.load(source).graph.node
    first = next(node for node in nodes if node.op_type == "Conv").input[0]
    logits = next(node for node in nodes if node.op_type == "ArgMax").input[0]
    net = path.parent / "net.onnx"
    utils.extract_model(str(source), str(net), [first], [logits, "depth"])
    spec = bundle.manifest.input
    half = any(
        value.name == first and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        for value in onnx.load(net).graph.input
    )
    with TrtRunner(EngineFromNetwork(NetworkFromOnnxPath(str(net), strongly_typed=True))) as runner:

        def call(frame: NDArray[np.uint8]) -> Any:
            image = preprocess(frame, (spec.height, spec.width))
            outputs = runner.infer({first: image.astype(np.float16) if half else image})
            return np.argmax(outputs[logits], axis=1).astype(np.uint8)

        return time_calls(call, frames)


def torch_peer(path: Path, frames: Frames) -> float:
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
