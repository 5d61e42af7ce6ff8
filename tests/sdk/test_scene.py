"""The generated street: what it shows is what it says, and hazards find it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from safetrip_sdk import Prediction, Timing, open_source
from safetrip_sdk.errors import SourceError
from safetrip_sdk.sources import IterableSource
from safetrip_sdk.sources.paced import PacedSource
from safetrip_sdk.sources.scene import CAMERA_HEIGHT, HORIZON, SCENE_CLASSES, Scene, Thing
from safetrip_sdk.sources.synthetic import SyntheticSource


def truth(scene: Scene, seconds: float, size: tuple[int, int] = (256, 320)) -> Prediction:
    labels, depth = scene.truth(seconds, size)
    return Prediction(labels, depth, None, SCENE_CLASSES, 0, 0, Timing(0, 0, 0, 0, 0))


def covers(nearer: Thing, item: Thing) -> bool:
    """Whether something nearer hides a part of the thing (seen from above)."""
    left, right = ((item.x + side * item.width / 2) / item.z for side in (-1, 1))
    nearer_left, nearer_right = ((nearer.x + side * nearer.width / 2) / nearer.z for side in (-1, 1))
    return nearer_left < right and nearer_right > left


def test_points_of_the_truth_stand_where_the_things_stand() -> None:
    scene = Scene(720, 1280)
    points = truth(scene, 2.0).points(scene.intrinsics, HORIZON - 1)
    ground = points.xyz[points.labels == SCENE_CLASSES.index("sidewalk")]
    np.testing.assert_allclose(ground[:, 1], CAMERA_HEIGHT, atol=1e-3)
    assert np.abs(ground[:, 0]).max() < 4.3
    things = scene.things(2.0)
    whole = [
        item
        for item in things
        if abs(item.x) + item.width < 0.6 * item.z
        and not any(covers(nearer, item) for nearer in things if nearer.z < item.z)
    ]
    assert len(whole) >= 3
    for item in whole:
        face = points.xyz[np.abs(points.xyz[:, 2] - item.z) < 1e-4]
        face = face[np.abs(face[:, 0] - item.x) < item.width]
        assert face[:, 0].min() == pytest.approx(item.x - item.width / 2, abs=0.1), item
        assert face[:, 1].min() == pytest.approx(CAMERA_HEIGHT - item.height, abs=0.1), item


def test_hazards_find_the_nearest_thing() -> None:
    scene = Scene(720, 1280)
    for seconds in np.linspace(0, 20, 41):
        hazards = truth(scene, float(seconds)).hazards(scene.intrinsics, sectors=1)
        in_view = [
            item for item in scene.things(float(seconds)) if abs(item.x) - item.width / 2 < 0.6 * item.z
        ]
        nearest = min(in_view, key=lambda item: item.z)
        assert hazards[0].name == nearest.name
        assert hazards[0].distance == pytest.approx(nearest.z, abs=1e-4)


def test_frames_move_and_show_the_truth() -> None:
    source = open_source("synthetic://320x256?fps=0&frames=40")
    assert isinstance(source, SyntheticSource)
    assert source.intrinsics is not None
    assert source.intrinsics.width == 320
    before = None
    out = np.empty((256, 320, 3), np.uint8)
    while source.read_into(out) is not None:
        labels, _ = source.truth()
        sky = labels == 255
        assert (out[sky] == (235, 206, 170)).all()
        person = out[labels == SCENE_CLASSES.index("person")]
        assert (person[:, 2] > person[:, 1]).all(), (
            "red things are the persons, and nothing else is drawn there"
        )
        if before is not None:
            assert not np.array_equal(before, out)
        before = out.copy()


def test_realtime_paces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    for source in (open_source(str(path), realtime=True), open_source(f"file://{path}?realtime=1")):
        assert isinstance(source, PacedSource)
        assert source.live
        out = np.empty((48, 64, 3), np.uint8)
        stamps = []
        with source:
            while (stamp := source.read_into(out)) is not None:
                stamps.append(stamp)
        assert len(stamps) == 10
        assert (stamps[-1] - stamps[0]) / 1e9 >= 9 / 50 - 0.005, "never ahead of its time"
    quicker = open_source(f"file://{path}?fps=500")
    started = time.monotonic()
    while quicker.read_into(out) is not None:
        pass
    assert time.monotonic() - started >= 9 / 500


@pytest.mark.parametrize(
    ("fps", "asleep"), [(0.0, [0.1, 0.9]), (10.0, [0.1, 0.1])], ids=["its own times", "a rate"]
)
def test_a_recording_is_played_at_its_own_times(
    monkeypatch: pytest.MonkeyPatch, fps: float, asleep: list[float]
) -> None:
    clock = SimpleNamespace(now=50.0, slept=[])

    def sleep(seconds: float) -> None:
        clock.now += seconds
        clock.slept.append(seconds)

    clock.monotonic, clock.monotonic_ns, clock.sleep = lambda: clock.now, lambda: int(clock.now * 1e9), sleep
    monkeypatch.setattr("safetrip_sdk.sources.paced.time", clock)

    class Recorded(IterableSource):
        def grab(self) -> int | None:
            self.media_time = (0.0, 0.1, 1.0, 1.0)[self._count]
            return super().grab()

    inner = Recorded([np.zeros((4, 4, 3), np.uint8)] * 3)
    inner.fps, inner.media_time = 30.0, 0.0
    source = PacedSource(inner, fps)
    while source.grab() is not None:
        pass
    assert clock.slept == pytest.approx(asleep)


def test_images_need_a_rate_to_be_paced(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(SourceError, match="says no frame rate"):
        open_source(str(tmp_path), realtime=True)
    assert open_source(f"file://{tmp_path}?fps=5").live


def test_things_are_always_ahead() -> None:
    scene = Scene(64, 64)
    for seconds in np.linspace(0, 300, 301):
        things = scene.things(float(seconds))
        assert min(item.z for item in things) >= 1.5
        assert [item.z for item in things] == sorted((item.z for item in things), reverse=True)
    assert replace(scene, width=10).intrinsics.width == 10
