"""What results cost at 512x512 on one core, and what outputs cost the loop that predicts.

Run with `python -m pytest benchmarks/test_results_cpu.py --benchmark-enable`. Times of results are processor
time of the calling thread, since the machine may be busy with other things; the cost of outputs is a ratio of
runs taken in turns. A figure over its limit fails the run, unless SAFETRIP_BENCH_REPORT_ONLY is set.
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

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from safetrip_sdk import CameraIntrinsics, Overlay, Prediction, Runtime, Timing
from safetrip_sdk.classes import ClassTable
from safetrip_sdk.outputs import FrameKeeper, Shot, ThreadedOutput
from safetrip_sdk.outputs.annotated import AnnotatedVideo, Recording
from safetrip_sdk.outputs.rerun_view import MAX_RATE, RerunView
from safetrip_sdk.outputs.share import DEFAULT_SHARE
from safetrip_sdk.recording import Recorder
from safetrip_sdk.sources.scene import SCENE_CLASSES, Scene
from safetrip_sdk.sources.synthetic import SyntheticSource

SIZE = (512, 512)
LIMIT_MS = 3.0
MEANINGLESS_MS = 6.0
"""Of labels that no trained net gives: the worst case, bounded."""

CAMERA = CameraIntrinsics.from_fov(64, 1920, 1080)
Labels = NDArray[np.uint8]


def street() -> tuple[Labels, NDArray[np.float32]]:
    """The generated street, near things in view, with a depth as noisy as a net's."""
    labels, depth = Scene(1080, 1920).truth(3.0, SIZE)
    noise = np.random.default_rng(0).normal(0, 0.03, SIZE)
    return labels, (depth * (1 + noise)).astype(np.float32)


def crowded() -> tuple[Labels, NDArray[np.float32]]:
    """Forty obstacles; borders as ragged as a net's."""
    generator = np.random.default_rng(1)
    labels, depth = street()
    for _ in range(40):
        z = generator.uniform(2, 30)
        width, height = int(400 * generator.uniform(0.1, 1.8) / z) + 1, int(600 / z)
        bottom, left = int(205 + 400 / z), int(generator.integers(0, SIZE[1] - width))
        where = (slice(max(bottom - height, 0), bottom), slice(left, left + width))
        labels[where], depth[where] = generator.integers(4, 8), z
    return np.where(generator.random(SIZE) < 0.5, labels, np.roll(labels, 1, 1)).astype(np.uint8), depth


def obstacle() -> tuple[Labels, NDArray[np.float32]]:
    """Nothing but one obstacle: the most pixels there can be."""
    return np.full(SIZE, 4, np.uint8), street()[1]


def speckled() -> tuple[Labels, NDArray[np.float32]]:
    """The crowded street with one pixel in fifty at random: worse than a net that has been trained."""
    generator = np.random.default_rng(2)
    labels, depth = crowded()
    wrong = generator.random(SIZE) < 0.02
    labels[wrong] = generator.integers(0, 8, int(wrong.sum()))
    return labels, depth


def noise() -> tuple[Labels, NDArray[np.float32]]:
    """Every pixel at random."""
    return np.random.default_rng(3).integers(0, 8, SIZE).astype(np.uint8), street()[1]


def patches() -> tuple[Labels, NDArray[np.float32]]:
    """Squares of 4x4 pixels at random: more regions than an untrained net's, whose grid is as coarse."""
    coarse = np.random.default_rng(3).integers(0, 8, (SIZE[0] // 4, SIZE[1] // 4))
    return np.kron(coarse, np.ones((4, 4), np.int64)).astype(np.uint8), street()[1]


METHODS: dict[str, Callable[[Prediction], Any]] = {
    "hazards": lambda prediction: prediction.hazards(CAMERA),
    "walkable": lambda prediction: prediction.walkable(CAMERA),
    "points": lambda prediction: prediction.points(CAMERA),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "scene", [street, crowded, obstacle, speckled, noise, patches], ids=lambda scene: scene.__name__
)
def test_results(benchmark: BenchmarkFixture, scene: Callable[[], Any], method: str) -> None:
    """At most 3 ms of one core; labels without a meaning at most 6."""
    labels, depth = scene()
    confidence = np.full(SIZE, 200, np.uint8)
    prediction = Prediction(labels, depth, confidence, SCENE_CLASSES, 0, 0, Timing(0, 0, 0, 0, 0))
    times = []
    for _ in range(60):
        started = time.thread_time()
        METHODS[method](prediction)
        times.append((time.thread_time() - started) * 1e3)
    benchmark.pedantic(METHODS[method], (prediction,), rounds=5)
    median = statistics.median(times)
    benchmark.extra_info.update(median_ms=round(median, 2), best_ms=round(min(times), 2))
    limit = MEANINGLESS_MS if scene in (noise, patches) else LIMIT_MS
    if not os.environ.get("SAFETRIP_BENCH_REPORT_ONLY"):
        assert median <= limit, benchmark.extra_info


@pytest.fixture(scope="module")
def full_net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`--bundle`, or the full net with random weights in FP32."""
    given: Path | None = request.config.getoption("--bundle")
    if given is not None:
        return given
    path = tmp_path_factory.mktemp("benchmark") / "random.bundle"
    words = ["export", "random", "--out", str(path)]
    subprocess.run([sys.executable, "-m", "safetrip_trainer", *words], check=True)
    return path


FRAMES = 24
ROUNDS = 8
OUTPUTS = ("video", "view", "record")


def make(name: str, folder: Path, table: ClassTable, number: int) -> Any:
    """A fresh output of a kind."""
    if name == "video":
        return AnnotatedVideo(folder / f"{number}.mp4", 30, Overlay(table.infos))
    if name == "view":
        return RerunView(str(folder / f"{number}.rrd"), table, CAMERA)
    return Recording(Recorder(folder / f"{number}.mcap", "jpeg", intrinsics=CAMERA))


def loop(runtime: Runtime, outputs: list[ThreadedOutput]) -> float:
    """Seconds of predicting some full-HD frames in a loop, with outputs that drop what they cannot take."""
    source = SyntheticSource((1080, 1920), fps=0, frames=FRAMES)
    keeper = FrameKeeper(source, lambda: any(item.wants_picture() for item in outputs))
    started = time.perf_counter()
    for prediction in runtime.stream(keeper, "block"):
        origin, picture, _ = keeper.take(prediction)
        for output in outputs:
            output.put(Shot(picture, prediction, origin))
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def runtime(full_net: Path) -> Iterator[Runtime]:
    with Runtime(full_net, frame_size=(1080, 1920)) as opened:
        loop(opened, [])
        yield opened


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_cost_the_loop_little(
    benchmark: BenchmarkFixture, runtime: Runtime, tmp_path: Path, name: str
) -> None:
    """Video and view, as `safetrip run` limits them, at most 5 %; the recording, which keeps every frame, is
    reported. On a CPU backend, whose cores they share."""
    assert runtime.bundle is not None
    table = ClassTable(runtime.bundle.manifest.classes)
    times: tuple[list[float], list[float]] = ([], [])
    written = dropped = spared = 0
    seconds = 0.0
    for number in range(ROUNDS):
        # Which of the two is first changes: on a machine that slows down nobody gains.
        if number % 2:
            times[0].append(loop(runtime, []))
        limits: dict[str, Any] = {
            "video": {"share": DEFAULT_SHARE},
            "view": {"share": DEFAULT_SHARE, "max_rate": MAX_RATE, "capacity": 2},
            "record": {"capacity": 8},
        }[name]
        output = ThreadedOutput(make(name, tmp_path, table, number), drop=True, name=name, **limits)
        times[1].append(loop(runtime, [output]))
        output.close()
        if not number % 2:
            times[0].append(loop(runtime, []))
        written += output.written
        dropped += output.dropped
        spared += output.spared
        seconds += output.seconds
    benchmark.pedantic(lambda: None)
    cost = statistics.median(there / alone for alone, there in zip(*times)) - 1
    benchmark.extra_info.update(
        cost=round(cost, 3),
        alone_ms=round(statistics.median(times[0]) / FRAMES * 1e3, 1),
        with_ms=round(statistics.median(times[1]) / FRAMES * 1e3, 1),
        written=written,
        dropped=dropped,
        spared=spared,
        processor_ms=round(1e3 * seconds / written, 1),
    )
    if name != "record" and not os.environ.get("SAFETRIP_BENCH_REPORT_ONLY"):
        assert cost <= 0.05, benchmark.extra_info
