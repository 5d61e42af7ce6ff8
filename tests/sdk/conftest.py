"""A real, tiny deploy graph in a real bundle, so that every backend here runs in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from safetrip_sdk.bundle import Bundle
from safetrip_sdk.manifest import ClassInfo, InputSpec, Manifest, PrecisionInfo

FRAME_SIZE = (96, 128)
NET_SIZE = (48, 64)
CLASSES = (
    ClassInfo("sidewalk", (86, 180, 233), "surface"),
    ClassInfo("roadway", (102, 102, 110), "surface"),
    ClassInfo("person", (220, 20, 60), "obstacle"),
)


def deploy_graph(net_size: tuple[int, int] = NET_SIZE, half: bool = False, work: int = 0) -> bytes:
    """An ONNX deploy graph: the class is the strongest of the frame's channels B, G, R; the depth its mean.

    Args:
        net_size: (h, w) of the outputs.
        half: compute in FP16 after the resize.
        work: extra convolutions, for a net that takes its time.
    """
    height, width = net_size
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    weights = {"sizes": np.array([1, 3, height, width], np.int64), "scale": np.array(80 / 255, dtype)}
    nodes = [
        helper.make_node("Cast", ["frame"], ["f32"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f32"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            ["nchw", "", "", "sizes"],
            ["resized"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Cast", ["resized"], ["x0"], to=kind),
    ]
    identity = np.zeros((3, 3, 3, 3), dtype)
    identity[range(3), range(3), 1, 1] = 1
    weights["identity"] = identity
    for index in range(work):
        nodes.append(
            helper.make_node("Conv", [f"x{index}", "identity"], [f"x{index + 1}"], pads=[1, 1, 1, 1])
        )
    last = f"x{work}"
    nodes += [
        helper.make_node("ArgMax", [last], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["indexf"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["indexf"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", [last, "axes"], ["peak"], keepdims=0),
        helper.make_node("Cast", ["peak"], ["peakf"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["peakf"], ["confidence"], to=TensorProto.UINT8),
        helper.make_node("ReduceMean", [last, "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["metres"]),
        helper.make_node("Cast", ["metres"], ["depth"], to=TensorProto.FLOAT),
    ]
    weights["axes"] = np.array([1], np.int64)
    return deploy_model(nodes, weights, ("H", "W"), net_size, ("labels", "depth", "confidence"))


def deploy_model(
    nodes: list[NodeProto],
    weights: dict[str, NDArray[Any]],
    frame_size: tuple[int | str, int | str],
    net_size: tuple[int, int],
    results: tuple[str, ...],
) -> bytes:
    """The checked ONNX file of nodes from `frame` to the outputs named."""
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *frame_size, 3])
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT if name == "depth" else TensorProto.UINT8, [1, *net_size]
        )
        for name in results
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [frame], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def expected(frame: NDArray[np.uint8], net_size: tuple[int, int] = NET_SIZE) -> NDArray[np.float32]:
    """What the graph's resize gives: bilinear, half-pixel centres, no antialias; (h, w, 3) float32.

    Written with numpy alone, as the reference the backends are held to.
    """

    def taps(size: int, target: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        place = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32)

    top, bottom, fy = taps(frame.shape[0], net_size[0])
    left, right, fx = taps(frame.shape[1], net_size[1])
    image = frame.astype(np.float32)
    rows = image[top] * (1 - fy)[:, None, None] + image[bottom] * fy[:, None, None]
    return np.asarray(
        rows[:, left] * (1 - fx)[None, :, None] + rows[:, right] * fx[None, :, None], dtype=np.float32
    )


def make_bundle(path: Path, models: dict[str, bytes], net_size: tuple[int, int] = NET_SIZE) -> Path:
    """A bundle of deploy graphs: precision -> ONNX bytes."""
    manifest = Manifest(
        name=path.stem,
        classes=CLASSES,
        input=InputSpec(height=net_size[0], width=net_size[1]),
        max_depth=80.0,
        precisions={name: PrecisionInfo(f"model.{name}.onnx") for name in models},
    )
    with Bundle.create(path, manifest) as draft:
        for name, data in models.items():
            draft.write(f"model.{name}.onnx", data)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FP32 and FP16 of the tiny graph; read only."""
    models = {"fp32": deploy_graph(), "fp16": deploy_graph(half=True)}
    return make_bundle(tmp_path_factory.mktemp("sdk") / "tiny.bundle", models)


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    """(96, 128, 3) with each channel strongest somewhere."""
    generator = np.random.default_rng(7)
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1))


@pytest.fixture(params=["openvino", "onnxruntime"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each CPU backend in turn."""
    return str(request.param)
