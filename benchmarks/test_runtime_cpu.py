"""The runtime on a CPU against what a user would write: 1920x1080 frames, the full net at 512x512.

Run with `make benchmark`. Each comparison alternates between the two sides, so that a busy machine slows
both, and reports the ratio of the medians in pytest-benchmark's `extra_info`. A ratio under its floor fails
the run, unless SAFETRIP_BENCH_REPORT_ONLY is set (for a machine that is busy with other things).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import utils as onnx_utils
from pytest_benchmark.fixture import BenchmarkFixture
from tests.sdk.scripted import ScriptedBackend, numbered, scripted

from safetrip_sdk import Bundle, FrameSource, Runtime

Frame = NDArray[np.uint8]

FRAME_SIZE = (1080, 1920)
ROUNDS = 15
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def full_net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`--bundle`, or the full net with random weights (`trainer export random`), calibrated to INT8."""
    given: Path | None = request.config.getoption("--bundle")
    if given is not None:
        return given
    folder = tmp_path_factory.mktemp("benchmark")
    scenes, prepared, path = (str(folder / name) for name in ("scenes", "prepared", "random.bundle"))
    for words in (
        ["synth", scenes, "--scenes", "16", "--size", "480x270"],
        ["prepare", scenes, "--out", prepared],
        ["export", "random", "--out", path],
        ["calibrate", path, prepared, "--precision", "int8"],
    ):
        subprocess.run([sys.executable, "-m", "safetrip_trainer", *words], check=True)
    return Path(path)


@pytest.fixture(scope="module")
def camera_frame() -> Frame:
    coarse = np.random.default_rng(0).integers(0, 256, (27, 48, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.resize(coarse, FRAME_SIZE[::-1], interpolation=cv2.INTER_CUBIC))


def plain_net(path: Path, precision: str, folder: Path) -> Path:
    """The bundle's net alone: normalised (1, 3, h, w) in, full-size logits and depth out."""
    manifest = Bundle.open(path).manifest
    source, target = path / manifest.precisions[precision].file, folder / f"net.{precision}.onnx"
    graph = onnx.load(source).graph
    makers = {output: node for node in graph.node for output in node.output}
    first = next(node for node in graph.node if node.op_type == "Conv").input[0]
    while makers[first].op_type in ("DequantizeLinear", "QuantizeLinear"):
        first = makers[first].input[0]
    logits = next(node for node in graph.node if node.op_type == "ArgMax").input[0]
    onnx_utils.extract_model(str(source), str(target), [first], [logits, "depth"])
    return target


class PlainPipeline:
    """What a user writes around an engine: cv2.resize, numpy normalise and transpose, run, numpy argmax."""

    def __init__(self, run: Callable[[Any], Any], size: tuple[int, int]) -> None:
        self.run = run
        self.size = size

    def __call__(self, frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        image = cv2.cvtColor(cv2.resize(frame, self.size[::-1]), cv2.COLOR_BGR2RGB)
        image = (image.astype(np.float32) / 255.0 - MEAN) / STD
        logits, depth = self.run(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
        return np.argmax(logits, axis=1)[0].astype(np.uint8), depth[0]


def openvino_pipeline(model: Path, size: tuple[int, int]) -> PlainPipeline:
    import openvino

    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(str(model), "CPU", settings)

    def run(image: Any) -> Any:
        result = compiled(image)
        return result[0], result[1]

    return PlainPipeline(run, size)


def onnxruntime_pipeline(model: Path, size: tuple[int, int]) -> PlainPipeline:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return PlainPipeline(lambda image: session.run(None, {name: image}), size)


def alternate(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = ROUNDS, pause: float = 0.05
) -> tuple[float, float]:
    """Median seconds of both, taken in turns, each after a pause: the other's threads stop spinning."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        ours(), theirs()
    for _ in range(rounds):
        for call, kept in zip((ours, theirs), times):
            time.sleep(pause)
            started = time.perf_counter()
            call()
            kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def require(benchmark: BenchmarkFixture, ratio: float, floor: float, **figures: float) -> None:
    """Report the ratio; fail under its floor."""
    benchmark.extra_info.update(ratio=round(ratio, 3), floor=floor, **figures)
    if not os.environ.get("SAFETRIP_BENCH_REPORT_ONLY"):
        assert ratio >= floor, benchmark.extra_info


def net_size(path: Path) -> tuple[int, int]:
    spec = Bundle.open(path).manifest.input
    return spec.height, spec.width


def test_call_against_the_plain_pipeline_on_the_same_engine(
    benchmark: BenchmarkFixture, full_net: Path, camera_frame: Frame, tmp_path: Path
) -> None:
    """At least 1.2 times as fast: same library, same precision."""
    with Runtime(full_net, backend="openvino", precision="auto", frame_size=FRAME_SIZE) as runtime:
        assert runtime.precision is not None
        plain = openvino_pipeline(plain_net(full_net, runtime.precision, tmp_path), net_size(full_net))
        agreement = float((runtime(camera_frame).labels == plain(camera_frame)[0]).mean())
        ours, theirs = alternate(lambda: runtime(camera_frame), lambda: plain(camera_frame))
        benchmark.pedantic(runtime, (camera_frame,), rounds=ROUNDS)
    require(benchmark, theirs / ours, 1.2, ours_ms=ours * 1e3, plain_ms=theirs * 1e3, agreement=agreement)
    assert agreement > 0.9, "the two compute the same thing"


def test_call_against_the_plain_pipeline_on_onnxruntime_fp32(
    benchmark: BenchmarkFixture, full_net: Path, camera_frame: Frame, tmp_path: Path
) -> None:
    """At least 1.8 times as fast."""
    plain = onnxruntime_pipeline(plain_net(full_net, "fp32", tmp_path), net_size(full_net))
    with Runtime(full_net, frame_size=FRAME_SIZE) as runtime:
        ours, theirs = alternate(lambda: runtime(camera_frame), lambda: plain(camera_frame))
        benchmark.pedantic(runtime, (camera_frame,), rounds=ROUNDS)
    require(benchmark, theirs / ours, 1.8, ours_ms=ours * 1e3, plain_ms=theirs * 1e3)


class SlowCamera(FrameSource):
    """A camera that takes 10 ms a frame."""

    def __init__(self, frame: Frame, frames: int) -> None:
        self.name = "camera"
        self.frame_size = frame.shape[:2]
        self.frame = frame
        self.rest = frames

    def grab(self) -> int | None:
        if not self.rest:
            return None
        self.rest -= 1
        time.sleep(0.010)
        return time.monotonic_ns()

    def retrieve(self, out: Frame) -> None:
        np.copyto(out, self.frame)


def test_stream_against_calling_in_a_loop(
    benchmark: BenchmarkFixture, full_net: Path, camera_frame: Frame
) -> None:
    """At least 1.1 times the frames a second with a camera that takes 10 ms a frame."""
    frames = 20

    def loop() -> None:
        camera = SlowCamera(camera_frame, frames)
        image = np.empty_like(camera_frame)
        while camera.read_into(image) is not None:
            runtime(image)

    def stream() -> None:
        for _ in runtime.stream(SlowCamera(camera_frame, frames), "block"):
            pass

    with Runtime(full_net, frame_size=FRAME_SIZE) as runtime:
        ours, theirs = alternate(stream, loop, rounds=5)
        benchmark.pedantic(stream, rounds=3)
    figures = {"stream_fps": frames / ours, "loop_fps": frames / theirs}
    require(benchmark, theirs / ours, 1.1, **figures)


@pytest.fixture
def idle_runtime() -> Iterator[Runtime]:
    with scripted(ScriptedBackend()) as runtime:
        yield runtime


def test_wrapping_cost(benchmark: BenchmarkFixture, idle_runtime: Runtime) -> None:
    """What `runtime(frame)` adds over a backend that does nothing: under 100 us.

    Nothing spins here, so that the calls follow each other; what it is after a rest is told beside it.
    """
    frame = numbered(1)
    slot = ScriptedBackend().make_slot()

    def bare() -> None:
        slot.load(frame, True)
        slot.launch()
        slot.wait(None)
        slot.read()
        slot.times()

    def cost(rounds: int, pause: float) -> float:
        ours, theirs = alternate(lambda: idle_runtime(frame), bare, rounds, pause)
        return round((ours - theirs) * 1e6, 1)

    wrapping, rested = cost(2000, 0.0), cost(100, 0.05)
    benchmark(idle_runtime, frame)
    require(benchmark, 100 / max(wrapping, 1e-3), 1.0, wrapping_us=wrapping, after_50_ms_us=rested)


def test_import_time(benchmark: BenchmarkFixture) -> None:
    """`import safetrip_sdk` and its Runtime take under 0.1 s beyond numpy."""

    def seconds(statement: str) -> float:
        code = f"import numpy, time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        best = [
            float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
            for _ in range(5)
        ]
        return min(best)

    package, runtime = seconds("import safetrip_sdk"), seconds("from safetrip_sdk import Runtime")
    benchmark.pedantic(lambda: None)
    require(benchmark, 0.1 / package, 1.0, package_s=round(package, 4), runtime_s=round(runtime, 4))
