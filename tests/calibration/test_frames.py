"""Frames: validated, chosen to represent, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from safetrip_calibration.errors import FramesError
from safetrip_calibration.frames import FramesDigest, LabelledFrame, SelectedFrames, select_frames
from tests.calibration.nets import Scenes


class Lopsided:
    """96 surface frames, 4 polygon frames; one in ten is dark, a class in three frames only."""

    def __init__(self) -> None:
        self.names = [f"f{index}" for index in range(100)]
        self.sources = ["polygon" if index >= 96 else "surface" for index in range(100)]
        self.labelled = [True] * 100

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> LabelledFrame:
        frame = np.full((16, 16, 3), 10 if index % 10 == 0 else 200, np.uint8)
        labels = np.full((16, 16), 7 if index in (21, 43, 65) else 0, np.uint8)
        return LabelledFrame(self.names[index], frame, self.sources[index], labels)


def test_rare_sources_classes_and_light_are_represented() -> None:
    frames = Lopsided()
    chosen = select_frames(frames, 25, seed=3)
    assert len(chosen) == 25
    assert len(set(chosen.indices)) == 25
    assert Counter(chosen.sources)["polygon"] == 4
    assert sum(index % 10 == 0 for index in chosen.indices) >= 4
    assert {21, 43, 65} <= set(chosen.indices)


def test_same_seed_same_frames_another_seed_others() -> None:
    frames = Lopsided()
    first, again, other = (select_frames(frames, 10, seed).names for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_large_sets_are_not_read_whole() -> None:
    scenes = Scenes(300, size=(48, 64))
    assert len(select_frames(scenes, 10)) == 10
    assert scenes.reads == 40


def test_small_sets_are_taken_whole_without_reading() -> None:
    scenes = Scenes(5)
    assert select_frames(scenes, 64).indices == (0, 1, 2, 3, 4)
    assert scenes.reads == 0


def test_selection_is_lazy_and_in_order() -> None:
    scenes = Scenes(9)
    chosen = SelectedFrames(scenes, [2, 5])
    assert [item.name for item in chosen] == ["scene_002", "scene_005"]
    assert chosen.sources == ("depth", "depth")
    assert chosen.labelled == (False, False)


def test_digest_depends_on_names_pixels_and_order() -> None:
    def digest(*indices: int) -> str:
        made = FramesDigest()
        for index in indices:
            made.update(Scenes(3)[index])
        return made.hexdigest()

    assert digest(0, 1) == digest(0, 1)
    assert len({digest(0, 1), digest(1, 0), digest(0), digest(0, 2)}) == 4


def test_digest_of_truth_depends_on_labels_and_depth_too() -> None:
    frame = np.zeros((2, 3, 3), np.uint8)
    zeros, ones = np.zeros((2, 3), np.uint8), np.ones((2, 3), np.uint8)
    near, far = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    truths = [(None, None), (zeros, None), (ones, None), (None, near), (None, far), (ones, near)]

    def digest(truth: bool, labels: np.ndarray | None, depth: np.ndarray | None) -> str:
        made = FramesDigest(truth)
        made.update(LabelledFrame("a", frame, "surface", labels, depth))
        return made.hexdigest()

    assert len({digest(True, *planes) for planes in truths}) == len(truths)
    assert len({digest(False, *planes) for planes in truths}) == 1


def test_no_frames_and_no_count_are_refused() -> None:
    with pytest.raises(FramesError, match=r"no frames for calibration.*never random"):
        select_frames(Scenes(0))
    with pytest.raises(FramesError, match="no frames for comparison"):
        select_frames(Scenes(0), purpose="comparison")
    with pytest.raises(FramesError, match="at least 1"):
        select_frames(Scenes(3), 0)


@pytest.mark.parametrize(
    ("frame", "labels", "depth"),
    [
        (np.zeros((4, 4), np.uint8), None, None),
        (np.zeros((4, 4, 3), np.float32), None, None),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), None),
        (np.zeros((4, 4, 3), np.uint8), None, np.zeros((4, 4), np.float64)),
    ],
)
def test_odd_frames_are_refused_by_name(frame, labels, depth) -> None:
    with pytest.raises(FramesError, match="'odd'"):
        LabelledFrame("odd", frame, "surface", labels, depth)
