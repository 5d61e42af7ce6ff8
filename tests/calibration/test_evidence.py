"""Worst frames as pictures, inputs that polygraphy replays, and the first tensor that diverges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from polygraphy.comparator import RunResults

from safetrip_calibration.bisect import divergences, first_divergence
from safetrip_calibration.calibrate import calibrate
from safetrip_calibration.compare import compare
from safetrip_calibration.evidence import save_inputs, save_worst_frames
from safetrip_calibration.fp16 import cast_graph
from safetrip_calibration.graph import load
from safetrip_calibration.runners import make_runner
from safetrip_calibration.sheet import GAP, TITLE, WIDTH
from safetrip_calibration.thresholds import Thresholds
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.overlay import depth_colors
from tests.calibration.nets import SIZE, Scenes


@pytest.fixture
def quantised(bundle: Path, scenes: Scenes) -> Path:
    calibrate(bundle, scenes, "int8", count=3)
    return bundle


def test_worst_frames_are_drawn_side_by_side(quantised: Path, tmp_path: Path) -> None:
    frames = Scenes(4)
    result = compare(quantised, frames, ["int8"], ["onnxruntime"], thresholds=Thresholds({}), write=False)
    written = save_worst_frames(quantised, frames, result, tmp_path / "worst")
    picture = cv2.imread(str(written["int8 onnxruntime"]))
    assert picture is not None
    (h, w) = SIZE
    factor = -(-WIDTH // w)
    high, wide = factor * h, factor * w
    assert picture.shape[1] == 4 * wide + 3 * GAP
    changed = picture[2 * TITLE + high : 2 * TITLE + 2 * high, :wide]
    worst = result.candidates[0].metrics["worst_frame"]["label_agreement"]
    assert (changed == 255).mean() == pytest.approx(1 - worst, abs=1e-6)
    keys = picture[2 * TITLE + 2 * high :]
    for depth in (1, 30):
        colour = depth_colors(np.full((1, 1), depth, np.float32))[0, 0]
        assert (keys == colour).all(axis=2).any(), f"{depth} m is not explained"


def test_inputs_without_room_leave_the_old_ones(
    tmp_path: Path, no_room: Callable[[], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "inputs.json"
    save_inputs(Scenes(1), [0], path)
    before = path.read_bytes()
    with no_room(), pytest.raises(OSError, match="large") as caught:
        save_inputs(Scenes(2), [1], path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saved_inputs_replay_with_polygraphy_itself(quantised: Path, tmp_path: Path) -> None:
    frames = Scenes(3)
    save_inputs(frames, [0, 2], tmp_path / "inputs.json")
    words = ["--graph-optimization-level", "ORT_DISABLE_ALL", "--load-inputs", str(tmp_path / "inputs.json")]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("polygraphy")), "run", str(quantised / "model.int8.onnx")),
            *("--onnxrt", *words, "--save-outputs", str(tmp_path / "out.json")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (_, replayed), *_ = RunResults.load(str(tmp_path / "out.json")).items()
    with make_runner(Bundle.open(quantised), "int8", "onnxruntime") as runner:
        for index, outputs in zip((0, 2), replayed):
            expected = runner.infer({"frame": frames[index].frame[None]})["labels"]
            assert (outputs["labels"] == expected).mean() > 0.98


def test_half_stays_within_tolerance_throughout(model: ModelProto, scenes: Scenes) -> None:
    items = divergences(model, cast_graph(model), scenes[0])
    assert [item.tensor for item in items[:2]] == ["float", "chw"]
    assert items[0].error == 0.0
    assert 0 < max(item.error for item in items) < 0.02
    assert first_divergence(items, 0.02) is None


def test_the_first_wrong_tensor_is_named(model: ModelProto, scenes: Scenes) -> None:
    broken = ModelProto()
    broken.CopyFrom(model)
    for item in broken.graph.initializer:
        if item.name == "down.weight":
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(1.5), item.name))
    found = first_divergence(divergences(model, broken, scenes[0]), 0.05)
    assert found is not None
    assert (found.node, found.op_type) == ("node_down", "Conv")


def test_int8_tensors_are_found_under_their_names(quantised: Path, model: ModelProto, scenes: Scenes) -> None:
    items = divergences(model, load(Bundle.open(quantised).read("model.int8.onnx")), scenes[0])
    of = {item.tensor: item.error for item in items}
    assert of["image"] < 1e-6
    assert 1e-4 < of["stem"] < 0.1
    assert "fused" in of
