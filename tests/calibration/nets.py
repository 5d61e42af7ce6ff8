"""A small deploy graph with every structure of the real one, and drawn street scenes to run it on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from safetrip_calibration.frames import LabelledFrame
from safetrip_sdk.manifest import ClassInfo, InputSpec, Manifest, PrecisionInfo

CLASSES = 5
SIZE = (64, 96)
CHANNELS = 16


class NetBuilder:
    """Writes nodes one after another; each method returns its output's name."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.constants: list = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def conv(self, x: str, name: str, shape: tuple[int, int, int], group: int = 1, stride: int = 1) -> str:
        """Conv with bias; `shape` is (out, in, kernel)."""
        out, inner, kernel = shape
        fan_in = inner // group * kernel * kernel
        weight = self.rng.normal(0, np.sqrt(2 / fan_in), (out, inner // group, kernel, kernel))
        w = self.constant(f"{name}.weight", weight.astype(np.float32))
        b = self.constant(f"{name}.bias", self.rng.normal(0, 0.1, out).astype(np.float32))
        pad = [kernel // 2] * 4
        return self.node("Conv", [x, w, b], name, group=group, strides=[stride] * 2, pads=pad)

    def relu6(self, x: str, name: str) -> str:
        return self.node("Clip", [x, "zero", "six"], name)

    def resize(self, x: str, name: str, shape: Sequence[int]) -> str:
        sizes = self.constant(f"{name}.sizes", np.array(shape, np.int64))
        return self.node("Resize", [x, "", "", sizes], name, mode="linear")

    def model(self, outputs: Sequence[tuple[str, int]]) -> ModelProto:
        h, w = SIZE
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "H", "W", 3])],
            [helper.make_tensor_value_info(name, kind, [1, h, w]) for name, kind in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_model(seed: int = 0) -> ModelProto:
    """The deploy graph: preprocessing, residual block, pyramid with a CRP block, two heads, three outputs."""
    net, (h, w), c = NetBuilder(seed), SIZE, CHANNELS
    for name, value in (("zero", 0.0), ("six", 6.0), ("byte", 255.0), ("half", 0.5), ("metres", 80.0)):
        net.constant(name, np.float32(value))
    net.constant("mean", np.array([123.675, 116.28, 103.53], np.float32).reshape(1, 3, 1, 1))
    net.constant("std", np.array([58.395, 57.12, 57.375], np.float32).reshape(1, 3, 1, 1))
    for name, number in (("minus_one", -1), ("far", -(2**63)), ("one", 1)):
        net.constant(name, np.array([number], np.int64))
    x = net.node("Cast", ["frame"], "float", to=TensorProto.FLOAT)
    x = net.node("Transpose", [x], "chw", perm=[0, 3, 1, 2])
    x = net.resize(x, "resized", (1, 3, h, w))
    x = net.node("Slice", [x, "minus_one", "far", "one", "minus_one"], "rgb")
    x = net.node("Div", [net.node("Sub", [x, "mean"], "centred"), "std"], "image")
    x = net.relu6(net.conv(x, "stem", (c, 3, 3), stride=2), "stem.act")
    fine = net.conv(x, "fine", (c, c, 1))
    x = net.relu6(net.conv(fine, "expand", (2 * c, c, 1)), "expand.act")
    x = net.relu6(net.conv(x, "depthwise", (2 * c, 2 * c, 3), group=2 * c), "depthwise.act")
    fine = net.node("Add", [fine, net.conv(x, "project", (c, 2 * c, 1))], "residual")
    coarse = net.relu6(net.conv(fine, "down", (c, c, 3), stride=2), "down.act")
    pooled = net.node("MaxPool", [coarse], "pool", kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1])
    coarse = net.node("Add", [coarse, net.conv(pooled, "crp", (c, c, 1))], "crp.sum")
    up = net.resize(net.conv(coarse, "lateral", (c, c, 1)), "up", (1, c, h // 2, w // 2))
    x = net.relu6(net.node("Add", [net.conv(fine, "adapter", (c, c, 1)), up], "fused"), "fused.act")
    _heads(net, x)
    return net.model(
        [("labels", TensorProto.UINT8), ("depth", TensorProto.FLOAT), ("confidence", TensorProto.UINT8)]
    )


def _heads(net: NetBuilder, x: str) -> None:
    (h, w), c = SIZE, CHANNELS
    logits = net.conv(
        net.relu6(net.conv(x, "seg.pre", (c, c, 1), group=c), "seg.act"), "logits", (CLASSES, c, 3)
    )
    depth = net.conv(
        net.relu6(net.conv(x, "depth.pre", (c, c, 1), group=c), "depth.act"), "depth.out", (1, c, 3)
    )
    index = net.node(
        "ArgMax", [net.resize(logits, "logits.up", (1, CLASSES, h, w))], "index", axis=1, keepdims=0
    )
    net.node(
        "Cast",
        [net.node("Cast", [index], "index.float", to=TensorProto.FLOAT)],
        "labels",
        to=TensorProto.UINT8,
    )
    certain = net.node(
        "ReduceMax", [net.node("Softmax", [logits], "softmax", axis=1), "one"], "certain", keepdims=1
    )
    certain = net.node("Mul", [net.resize(certain, "certain.up", (1, 1, h, w)), "byte"], "certain.byte")
    certain = net.node(
        "Squeeze", [net.node("Add", [certain, "half"], "certain.round"), "one"], "certain.flat"
    )
    net.node("Cast", [certain], "confidence", to=TensorProto.UINT8)
    squashed = net.resize(net.node("Sigmoid", [depth], "sigmoid"), "depth.up", (1, 1, h, w))
    net.node("Mul", [net.node("Squeeze", [squashed, "one"], "depth.flat"), "metres"], "depth")


class Scenes:
    """A FrameSet of drawn streets: sky, path, boxes; with labels and depth that fit them."""

    def __init__(self, count: int, size: tuple[int, int] = (120, 160), seed: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.names = [f"scene_{index:03d}" for index in range(count)]
        self.sources = [("surface", "polygon", "depth")[index % 3] for index in range(count)]
        self.reads = 0

    @property
    def labelled(self) -> list[bool]:
        return [source in ("surface", "polygon") for source in self.sources]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> LabelledFrame:
        self.reads += 1
        rng = np.random.default_rng([self.seed, index])
        (h, w), source = self.size, self.sources[index]
        frame = np.zeros((h, w, 3), np.uint8)
        labels = np.full((h, w), 255, np.uint8)
        horizon = int(h * rng.uniform(0.35, 0.5))
        frame[:horizon] = np.linspace(230, 150, horizon, dtype=np.uint8)[:, None, None]
        frame[horizon:] = rng.integers(60, 120, 3)
        labels[horizon:] = 0
        path = np.array([[w // 3, h - 1], [2 * w // 3, h - 1], [w // 2 + 4, horizon], [w // 2 - 4, horizon]])
        cv2.fillPoly(frame, [path], rng.integers(120, 200, 3).tolist())
        cv2.fillPoly(labels, [path], 1)
        for kind in range(2, CLASSES):
            x, y = int(rng.integers(0, w - 20)), int(rng.integers(horizon - 10, h - 24))
            cv2.rectangle(frame, (x, y), (x + 18, y + 22), rng.integers(0, 255, 3).tolist(), -1)
            cv2.rectangle(labels, (x, y), (x + 18, y + 22), kind, -1)
        frame = (cv2.GaussianBlur(frame, (3, 3), 0) * rng.uniform(0.5, 1.1)).clip(0, 255).astype(np.uint8)
        rows = np.arange(h, dtype=np.float32)[:, None]
        depth = np.where(rows > horizon, 400 / np.maximum(rows - horizon, 1) / 4, np.nan)
        depth = np.broadcast_to(depth, (h, w)).astype(np.float32)
        has_labels = self.labelled[index]
        return LabelledFrame(
            self.names[index], frame, source, labels if has_labels else None, None if has_labels else depth
        )


def make_manifest() -> Manifest:
    """A manifest for `make_model`, holding fp32 only."""
    return Manifest(
        name="toy",
        classes=tuple(ClassInfo(f"class_{i}", (40 * i, 10, 10), "surface") for i in range(CLASSES)),
        input=InputSpec(height=SIZE[0], width=SIZE[1]),
        max_depth=80.0,
        precisions={"fp32": PrecisionInfo("model.fp32.onnx", accepted=True)},
    )
