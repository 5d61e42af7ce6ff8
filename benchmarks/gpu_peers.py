"""What one would use instead of the runtime, timed end to end on the same frames."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_engines import time_calls, unlisted_capability
from gpu_reference import Frames, pictures
from gpu_report import Answer, Figures
from safetrip_sdk import Bundle
from safetrip_sdk.backends import GPU_BACKENDS, probe

__all__ = ["PEERS", "check_peer"]

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class PeerMissingError(Exception):
    """The peer cannot run here; the text says what it lacks."""


def check_peer(name: str, bundle: str, size: tuple[int, int], answer: Answer) -> None:
    """Milliseconds of a peer, or what it lacks: one that does not run here says nothing against us."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            answer.add(**PEERS[name](Bundle.open(bundle), Path(folder), pictures(size)))
    except PeerMissingError as error:
        answer.add(status="skipped", answer=str(error))
    except Exception as error:
        answer.add(status="skipped", answer=f"it does not run here: {type(error).__name__}: {error}")


def require_modules(*names: str) -> None:
    """PeerMissingError that names every module that cannot be imported, with the reason of each."""
    missing = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a library that is damaged raises what it likes
            missing.append(f"{name} ({error})")
    if missing:
        raise PeerMissingError(f"needs {', '.join(missing)}")


def preprocess(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """What a user writes before the net."""
    import cv2

    image = cv2.cvtColor(cv2.resize(frame, size[::-1]), cv2.COLOR_BGR2RGB)
    image = (image.astype(np.float32) / 255.0 - MEAN) / STD
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


@dataclass(frozen=True)
class PlainNet:
    """The net between preprocessing and ArgMax: its file, names of its input and logits, its precision."""

    file: Path
    image: str
    logits: str
    precision: str
    half_input: bool


def net_alone(bundle: Bundle, folder: Path) -> PlainNet:
    """The FP16 (else FP32) net of a bundle, cut out of its deploy graph."""
    import onnx
    from onnx import utils

    precision = "fp16" if "fp16" in bundle.manifest.precisions else "fp32"
    source = bundle.path / bundle.manifest.precisions[precision].file
    nodes = onnx.load(source).graph.node
    first = next(node for node in nodes if node.op_type == "Conv").input[0]
    logits = next(node for node in nodes if node.op_type == "ArgMax").input[0]
    net = folder / "net.onnx"
    utils.extract_model(str(source), str(net), [first], [logits, "depth"])
    half = any(
        value.name == first and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        for value in onnx.load(net).graph.input
    )
    return PlainNet(net, first, logits, precision, half)


def polygraphy_peer(bundle: Bundle, folder: Path, frames: Frames) -> Figures:
    """TrtRunner on the net alone, preprocessing and argmax in Python."""
    found = [probe(name) for name in GPU_BACKENDS]
    library = next((item.name for item in found if item.available), None)
    if library is None:
        raise PeerMissingError("; ".join(item.reason for item in found))
    prepare_polygraphy(library)
    require_modules("polygraphy.backend.trt", "onnx", "cv2")
    from polygraphy.backend.trt import EngineFromNetwork, NetworkFromOnnxPath, TrtRunner

    net = net_alone(bundle, folder)
    size = bundle.manifest.input.height, bundle.manifest.input.width
    network = NetworkFromOnnxPath(str(net.file), strongly_typed=True)
    with TrtRunner(EngineFromNetwork(network, config=polygraphy_config(library))) as runner:

        def call(frame: NDArray[np.uint8]) -> Any:
            image = preprocess(frame, size)
            outputs = runner.infer({net.image: image.astype(np.float16) if net.half_input else image})
            return np.argmax(outputs[net.logits], axis=1).astype(np.uint8)

        return {"p50_ms": time_calls(call, frames), "precision": net.precision, "library": library}


def prepare_polygraphy(library: str) -> None:
    """What Polygraphy reads from the environment when it is imported, or first looks for the CUDA runtime."""
    if library == "tensorrt_rtx":
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        cudart = load_nvidia_dynamic_lib("cudart").abs_path
    except Exception:  # without it, Polygraphy looks for itself, and says what it does not find
        return
    if cudart:
        # It does not know where CUDA 13's wheels have it.
        folders = [os.environ.get("LD_LIBRARY_PATH", ""), str(Path(cudart).parent)]
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))


def polygraphy_config(library: str) -> Any:
    """As our own engine is built: portable where RTX lists this GPU, else for this GPU alone."""
    if unlisted_capability(library) is None:
        return None
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    return CreateConfigRTX(use_gpu=True)


def torch_peer(bundle: Bundle, folder: Path, frames: Frames) -> Figures:
    """torch.compile in FP16 with preprocessing on the CPU."""
    require_modules("torch", "torchvision", "onnx", "cv2")
    import torch

    if not torch.cuda.is_available():
        raise PeerMissingError("torch sees no GPU")
    size = bundle.manifest.input.height, bundle.manifest.input.width
    net = torch.compile(torch_net(bundle).eval().cuda().half())

    def call(frame: NDArray[np.uint8]) -> Any:
        image = torch.from_numpy(preprocess(frame, size)).cuda().half()
        with torch.inference_mode():
            logits, depth = net(image)
            full = torch.nn.functional.interpolate(logits, size, mode="bilinear")
            return full.argmax(1).to(torch.uint8).cpu().numpy(), depth.float().cpu().numpy()

    return {"p50_ms": time_calls(call, frames), "precision": "fp16", "torch": torch.__version__}


def torch_net(bundle: Bundle) -> Any:
    """An untrained net of the bundle's shape: its speed is that of the trained one.

    Raises:
        PeerMissingError: the trainer here makes no net of the bundle's convolutions.
    """
    from torch import nn

    from safetrip_trainer.model.hydranet import HydraNet

    settings = bundle.manifest.training.get("hyper_parameters", {})
    net = HydraNet(
        num_classes=len(bundle.manifest.classes),
        width_mult=settings.get("width_mult", 1.0),
        decoder_channels=settings.get("decoder_channels", 256),
        depth_head=(settings.get("depth") or {}).get("head", "sigmoid"),
    )
    own = sorted(tuple(layer.weight.shape) for layer in net.modules() if isinstance(layer, nn.Conv2d))
    theirs = convolutions(bundle)
    if own != theirs:
        raise PeerMissingError(
            f"the bundle's net has {weights(theirs)} weights in {len(theirs)} convolutions, the one that its "
            f"manifest describes {weights(own)} in {len(own)}: no peer of it"
        )
    return net


def convolutions(bundle: Bundle) -> list[tuple[int, ...]]:
    """Shapes of the weights of the float net's convolutions, sorted."""
    import onnx

    name = next(name for name in ("fp32", "fp16") if name in bundle.manifest.precisions)
    graph = onnx.load_from_string(bundle.read(bundle.manifest.precisions[name].file)).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    return sorted(shapes.get(node.input[1], ()) for node in graph.node if node.op_type == "Conv")


def weights(shapes: list[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


PEERS: dict[str, Callable[[Bundle, Path, Frames], Figures]] = {
    "polygraphy": polygraphy_peer,
    "torch_compile_fp16": torch_peer,
}
