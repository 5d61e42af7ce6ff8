"""The examples run as they stand, and the robot stops when it should."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import CameraIntrinsics, ClassTable, Prediction, Timing, open_source
from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources.scene import SCENE_CLASSES
from safetrip_sdk.sources.synthetic import SyntheticSource

EXAMPLES = Path(__file__).parents[2] / "examples"
NET = (128, 160)


def run(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "compare_precisions.py",
        "custom_camera.py",
        "robot_loop.py",
    }


def test_robot_loop_runs(tiny_bundle: Path) -> None:
    text = run("robot_loop.py", str(tiny_bundle), "--source", "synthetic://320x256?fps=60", "--frames", "20")
    assert "stopped" in text
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "robot_loop.py"), "nowhere.bundle", "--source", "synthetic://64x48"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def seen(source: SyntheticSource) -> Iterator[Prediction]:
    """What a perfect model says of every frame of the generated street."""
    while (grabbed := source.grab()) is not None:
        labels, depth = source.truth(NET)
        yield Prediction(labels, depth, None, SCENE_CLASSES, 0, grabbed, Timing(0, 0, 0, 0, 0))


def test_the_robot_stops_for_what_stands_in_its_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the street's things only the bollard comes near enough to the path; persons walk beside it."""
    example = load("robot_loop")
    monkeypatch.setattr(example, "HALF_WIDTH", 0.6)
    source = open_source("synthetic://320x256?fps=0&frames=900")
    assert isinstance(source, SyntheticSource)
    assert source.intrinsics is not None
    stops = example.drive(seen(source), example.Guard(2.5), source.intrinsics)
    said = capsys.readouterr().out
    assert stops >= 1
    assert "stop: bollard at " in said
    assert "go" in said.splitlines()
    assert "person" not in said
    assert "car" not in said


def test_the_robot_stops_when_there_is_nothing_more_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("robot_loop")
    said: list[str] = []
    stopped = threading.Event()

    class Wheels(example.Wheels):  # type: ignore[name-defined, misc]
        def stop(self, why: str) -> None:
            if self.moving:
                said.append(why)
                stopped.set()
            super().stop(why)

        def go(self) -> None:
            said.append("go")
            super().go()

    def dying_camera() -> Iterator[Prediction]:
        free = np.zeros(NET, np.uint8)
        for _ in range(5):
            now = time.monotonic_ns()
            yield Prediction(
                free, np.ones(NET, np.float32), None, SCENE_CLASSES, 0, now, Timing(0, 0, 0, 0, 0)
            )
        assert stopped.wait(60), "it waits for the camera and drives on"
        raise SourceError("the camera is gone")

    monkeypatch.setattr(example, "Wheels", Wheels)
    with pytest.raises(SourceError):
        example.drive(dying_camera(), example.Guard(1.5), CameraIntrinsics.from_fov(70, 640, 480))
    assert said == ["go", "nothing seen for 0.5 s"]


def guarded(example: ModuleType, distances: list[float]) -> list[bool | None]:
    """The guard's verdicts on a person straight ahead at these distances."""
    table: ClassTable = SCENE_CLASSES
    guard, verdicts = example.Guard(1.5), []
    for metres in distances:
        labels = np.zeros(NET, np.uint8)
        labels[40:100, 70:90] = table.index("person")
        depth: NDArray[np.float32] = np.full(NET, metres, np.float32)
        prediction = Prediction(labels, depth, None, table, 0, 0, Timing(0, 0, 0, 0, 0))
        verdicts.append(guard.decide(prediction, CameraIntrinsics.from_fov(70, 640, 480))[0])
    return verdicts


def test_one_flickering_frame_does_not_brake() -> None:
    example = load("robot_loop")
    assert guarded(example, [3, 1, 3]) == [None, None, None]
    assert guarded(example, [1, 1]) == [None, True]
    assert guarded(example, [1, 1, 3, 3, 3, 3, 3]) == [None, True, None, None, None, None, False]


def test_compare_precisions(tiny_bundle: Path) -> None:
    words = ("--frames", "4", "--backend", "onnxruntime", "--source", "synthetic://128x96?fps=0")
    rows = run("compare_precisions.py", str(tiny_bundle), *words).splitlines()
    assert rows[0] == "4 frames on onnxruntime"
    assert [row.split()[0] for row in rows[2:]] == ["fp32", "fp16"]
    assert rows[2].split()[3:] == ["100.00%", "0.000", "m"]


def test_custom_camera(tiny_bundle: Path) -> None:
    text = run("custom_camera.py", str(tiny_bundle), "--frames", "15")
    assert "Prediction(frame_id=" in text
    assert "frames/s" in text
