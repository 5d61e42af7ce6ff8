"""Outputs in their threads: nothing waits that need not, nothing is lost that must not be."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_sdk import ClassTable, Overlay, Prediction, Timing
from safetrip_sdk.errors import BackendUnavailableError, SafetripError
from safetrip_sdk.outputs import Shot, ThreadedOutput
from safetrip_sdk.outputs.annotated import AnnotatedVideo
from safetrip_sdk.outputs.lines import JsonLines
from safetrip_sdk.outputs.rerun_view import RerunView
from safetrip_sdk.outputs.share import ProcessorShare, idle_seconds, seconds_of
from safetrip_sdk.overlay import depth_colors, shrink
from safetrip_sdk.sources.scene import SCENE_CLASSES, Scene

SCENE = Scene(96, 128)


def shot(number: int, size: tuple[int, int] = (48, 64)) -> Shot:
    labels, depth = SCENE.truth(number / 10, size)
    frame = np.empty((96, 128, 3), np.uint8)
    SCENE.draw(number / 10, frame)
    timing = Timing(0, 0, 5.0, 0, 5.5)
    return Shot(frame, Prediction(labels, depth, None, SCENE_CLASSES, number, number * 10**8, timing), "o")


class Slow:
    """An output that takes its time, or fails."""

    pictures = True

    def __init__(self, seconds: float = 0.0, fail_at: int = -1) -> None:
        self.seconds = seconds
        self.fail_at = fail_at
        self.seen: list[int] = []
        self.ended: list[str] = []
        self.threads: set[str] = set()

    def write(self, item: Shot) -> None:
        if len(self.seen) == self.fail_at:
            raise SafetripError("the disk is full")
        time.sleep(self.seconds)
        self.seen.append(item.prediction.frame_id)
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        self.ended.append("close")

    def abandon(self) -> None:
        self.ended.append("abandon")


def test_a_slow_output_drops_and_counts_instead_of_holding_up() -> None:
    slow = Slow(0.03)
    with ThreadedOutput(slow, drop=True, capacity=2, name="view") as output:
        started = time.monotonic()
        for number in range(50):
            output.put(shot(number)._replace(frame=shot(0).frame))
        assert not output.wants_picture() or output.dropped > 0
        taken = time.monotonic() - started
    assert taken < 50 * 0.03, "the caller did not wait for each"
    assert output.written + output.dropped == 50
    assert slow.seen == sorted(slow.seen)
    assert slow.ended == ["close"]
    assert slow.threads == {"safetrip-view"}


def test_an_output_that_must_not_drop_gets_everything() -> None:
    slow = Slow(0.002)
    with ThreadedOutput(slow, drop=False, capacity=2) as output:
        for number in range(30):
            output.put(shot(number))
    assert slow.seen == list(range(30))
    assert output.dropped == 0


def test_a_rate_leaves_frames_out_without_counting_them() -> None:
    slow = Slow()
    with ThreadedOutput(slow, drop=True, max_rate=20.0) as output:
        started = time.monotonic()
        while (taken := time.monotonic() - started) < 0.5 or len(slow.seen) < 3:
            assert taken < 60
            picture = output.wants_picture()
            output.put(shot(0) if picture else shot(0)._replace(frame=None))
            time.sleep(0.002)
    assert len(slow.seen) <= 20 * taken + 2
    assert output.dropped == 0


class Busy(Slow):
    """An output that computes."""

    def write(self, item: Shot) -> None:
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
        super().write(item)


def test_an_output_keeps_to_its_share_of_the_processor() -> None:
    busy = Busy()
    started = time.monotonic()
    with ThreadedOutput(busy, drop=True, share=0.1) as output:
        for number in range(100):
            picture = shot(0).frame if output.wants_picture() else None
            output.put(shot(number)._replace(frame=picture))
            time.sleep(0.01)
        taken = time.monotonic() - started
    assert output.written + output.dropped + output.spared == 100
    assert output.spared > 50
    # What was waiting before the first cost was known comes on top.
    assert 0.01 * output.written <= output.seconds <= 0.1 * taken + 5 * 0.011
    assert output.written >= 4


@given(cost=st.floats(0.001, 0.2), share=st.floats(0.01, 0.5), interval=st.floats(0.005, 0.2))
def test_a_share_leaves_frames_out_evenly(cost: float, share: float, interval: float) -> None:
    bucket = ProcessorShare(share)
    taken = []
    for number in range(400):
        now = 100 + number * interval
        if bucket.open(now):
            bucket.settle(bucket.claim(now), cost)
            taken.append(number)
    allowed = share * 399 * interval / cost
    assert min(allowed, 399) - 2 <= len(taken) <= allowed + 3
    # Each as many frames after the one before as it should be, but for the fraction that cannot be.
    gaps = np.diff(taken[3:])
    assert np.all(np.abs(gaps - max(cost / share / interval, 1)) <= 1 + 1e-6)


def test_idle_cores_widen_a_share_and_busy_ones_narrow_it() -> None:
    def taken(bucket: ProcessorShare, begin: float = 100) -> int:
        count = 0
        for number in range(100):
            now = begin + number * 0.01
            if bucket.open(now):
                bucket.settle(bucket.claim(now), 0.02)
                count += 1
        return count

    assert taken(ProcessorShare(0.04)) <= 4
    idle = ProcessorShare(0.04)
    idle.adapt(used=0.04, spare=1.0)
    assert 26 <= taken(idle) <= 30
    idle.adapt(used=0.54, spare=3.0)
    assert taken(idle, 110) == 100
    busy = ProcessorShare(0.04)
    busy.adapt(used=0.04, spare=1.0)
    for _ in range(5):
        busy.adapt(used=0.5, spare=-0.1)
    assert taken(busy) <= 4


def test_idle_cores_are_seen() -> None:
    started, before = time.monotonic(), idle_seconds()
    time.sleep(0.3)
    idle = idle_seconds() - before
    assert 0 <= idle <= (time.monotonic() - started + 0.05) * len(os.sched_getaffinity(0))


def test_helping_threads_count() -> None:
    name = (Path("/proc/self/task") / str(os.getpid()) / "comm").read_text().strip()
    before = seconds_of((name,))
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert seconds_of((name,)) - before >= 0.04
    assert seconds_of(("no such thread",)) == seconds_of(()) == 0
    with pytest.raises(ValueError, match="share: want more than 0, to 1, not 2"):
        ProcessorShare(2)


def test_what_helping_threads_took_is_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter((0.0, 1.0))
    monkeypatch.setattr("safetrip_sdk.outputs.share._LOOK", 0.0)
    monkeypatch.setattr("safetrip_sdk.outputs.share.seconds_of", lambda names: next(taken))
    monkeypatch.setattr("safetrip_sdk.outputs.share.idle_seconds", lambda: 0.0)
    bucket = ProcessorShare(0.1, ("encoder",))
    bucket.settle(bucket.claim(100.0), 0.0)
    assert not bucket.open(109.9), "a second of theirs is a tenth of ten"
    assert bucket.open(110.1)


@pytest.mark.parametrize(("widest", "size"), [(40, (32, 24)), (128, (128, 96)), (0, (128, 96))])
def test_a_video_is_made_smaller_by_whole_numbers(tmp_path: Path, widest: int, size: tuple[int, int]) -> None:
    path = tmp_path / "a.avi"
    video = AnnotatedVideo(path, 10, Overlay(SCENE_CLASSES.infos), widest)
    video.write(shot(0))
    video.close()
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == size


def test_shrinking_averages_squares_and_cuts_the_remainder() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 101, 3)).astype(np.uint8)
    small = shrink(image, 40)
    assert small.shape == (16, 33, 3)
    squares = image[:48, :99].reshape(16, 3, 33, 3, 3).mean(axis=(1, 3))
    assert np.abs(small - squares).max() <= 0.51
    assert shrink(image, 101) is image


@pytest.mark.parametrize("frames", [1, 5, 40])
def test_a_video_of_a_camera_runs_at_the_pace_of_the_world(tmp_path: Path, frames: int) -> None:
    """Shots are taken every 0.1 s, of which every second is left out."""
    path = tmp_path / "a.avi"
    video = AnnotatedVideo(path, None, Overlay(SCENE_CLASSES.infos))
    for number in range(frames):
        video.write(shot(2 * number))
    video.close()
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == frames
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10 if frames == 1 else 5)


def test_a_full_disk_is_told_with_the_output_that_met_it() -> None:
    class Full(Slow):
        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    output = ThreadedOutput(Full(), drop=False, name="record")
    with pytest.raises(OSError, match="No space left on device: '--record'"):
        output.close()


def test_an_error_reaches_the_caller_and_ends_the_output() -> None:
    slow = Slow(fail_at=2)
    output = ThreadedOutput(slow, drop=False)
    with pytest.raises(SafetripError, match="the disk is full"):  # noqa: PT012 (whichever put comes after it)
        for number in range(100):
            output.put(shot(number))
            time.sleep(0.001)
    with pytest.raises(SafetripError, match="the disk is full"):
        output.close()
    output.close()
    assert slow.ended == ["abandon"]


@pytest.mark.parametrize(("error", "ended"), [(KeyboardInterrupt, "close"), (RuntimeError, "abandon")])
def test_an_interrupted_run_keeps_its_files_and_a_failed_one_none(
    tmp_path: Path, error: type[BaseException], ended: str
) -> None:
    lines, video = tmp_path / "a.jsonl", tmp_path / "a.avi"
    lines.write_text("old")
    overlay = Overlay(SCENE_CLASSES.infos)
    with (  # noqa: PT012
        pytest.raises(error),
        ThreadedOutput(JsonLines(str(lines), SCENE_CLASSES, None), drop=False) as first,
        ThreadedOutput(AnnotatedVideo(video, 10, overlay), drop=False) as second,
    ):
        first.put(shot(0))
        second.put(shot(0))
        while not (first.written and second.written):
            time.sleep(0.01)
        raise error
    assert (lines.read_text() != "old") == (ended == "close")
    assert video.exists() == (ended == "close")
    assert {item.name for item in tmp_path.iterdir()} <= {"a.jsonl", "a.avi"}


def test_a_view_is_saved_for_later(tmp_path: Path) -> None:
    path = tmp_path / "run.rrd"
    view = RerunView(str(path), SCENE_CLASSES, SCENE.intrinsics)
    for number in range(3):
        view.write(shot(number))
    view.close()
    data = path.read_bytes()
    assert data[:4] in (b"RRF2", b"RRIO", b"RRF0", b"RRF1")
    for entity in (b"camera", b"overlay", b"depth", b"latency", b"hazards", b"person"):
        assert entity in data, entity


def test_a_view_in_a_browser() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    view = RerunView(f"web:{port}", SCENE_CLASSES)
    view.write(shot(0))
    assert f":{port}/" in view.address
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.status == 200
    view.close()
    with pytest.raises(SafetripError, match="cannot be opened"):
        RerunView(f"web:{port}", SCENE_CLASSES)


def test_views_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SafetripError, match="a view is window, web, web:PORT or FILE"):
        RerunView("hologram", SCENE_CLASSES)
    with pytest.raises(SafetripError, match="does not exist"):
        RerunView(str(tmp_path / "no" / "x.rrd"), SCENE_CLASSES)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SafetripError, match=r"needs a screen, and there is none here .* use --view web"):
        RerunView("window", SCENE_CLASSES)
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install rerun-sdk\."):
        RerunView("window", SCENE_CLASSES)


def test_obstacles_are_outlined_named_and_caution_zones_hatched() -> None:
    labels, depth = SCENE.truth(0.0, (96, 128))
    person = SCENE_CLASSES.index("person")
    caution = SCENE_CLASSES.index("caution_zone")
    frame = np.full((96, 128, 3), 90, np.uint8)
    prediction = Prediction(labels, depth, None, SCENE_CLASSES, 0, 0, Timing(0, 0, 0, 0, 0))
    image = Overlay(SCENE_CLASSES.infos, alpha=1.0, legend=False, depth=False).draw(frame, prediction)
    inside = cv2.erode((labels == person).astype(np.uint8), np.ones((3, 3))) > 0
    rim = (labels == person) & ~inside
    assert (image[rim] == 255).all()
    assert (image[inside] == SCENE_CLASSES.infos[person].color[::-1]).all()
    zone = image[labels == caution]
    dark = (zone == 0).all(axis=1).mean()
    assert 0.2 < dark < 0.55
    assert (image[labels == 255] == 0).all()
    named = Overlay(SCENE_CLASSES.infos, alpha=0.4, depth=False)
    big = named.draw(np.full((960, 1280, 3), 90, np.uint8), prediction)
    plain = Overlay(SCENE_CLASSES.infos, alpha=0.4, legend=False, depth=False).draw(
        np.full((960, 1280, 3), 90, np.uint8), prediction
    )
    hazard = min(prediction.hazards(), key=lambda item: item.distance)
    row, column = int(hazard.box[3] * 960), int((hazard.box[0] + hazard.box[2]) / 2 * 1280)
    patch = (slice(row - 15, row + 5), slice(column - 40, column + 40))
    assert not np.array_equal(big[patch], plain[patch]), "its name and distance stand at its foot"


def test_near_is_warm_and_the_depth_stands_in_the_lower_right_corner() -> None:
    near, far = depth_colors(np.array([[1.0, 60.0]], np.float32))[0].astype(int)
    assert near[2] > near[0] + 50, "BGR: more red than blue"
    assert far[0] > far[2] + 50
    labels, depth = SCENE.truth(0.0, (96, 128))
    prediction = Prediction(labels, depth, None, SCENE_CLASSES, 0, 0, Timing(0, 0, 0, 0, 0))
    frame = np.full((96, 128, 3), 90, np.uint8)
    plain, whole = (
        Overlay(SCENE_CLASSES.infos, legend=False, depth=shown).draw(frame, prediction)
        for shown in (False, True)
    )
    assert np.array_equal(whole[-24:, -32:], depth_colors(depth[::4, ::4]))
    assert np.array_equal(whole[:72], plain[:72])
    assert np.array_equal(whole[:, :96], plain[:, :96])


def test_the_legend_shows_colours_and_each_obstacle_is_named_once_at_its_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags: list[str] = []
    monkeypatch.setattr(Overlay, "_tag", lambda self, image, text, place: tags.append(text))
    car = SCENE_CLASSES.index("car")
    labels = np.full((48, 96), car, np.uint8)
    labels[:20], labels[30:, :4] = 255, SCENE_CLASSES.index("person")
    depth = np.broadcast_to(np.linspace(20, 3, 96, dtype=np.float32), labels.shape).copy()
    depth[labels == SCENE_CLASSES.index("person")] = 9.0
    prediction = Prediction(labels, depth, None, SCENE_CLASSES, 0, 0, Timing(0, 0, 0, 0, 0))
    image = Overlay(SCENE_CLASSES.infos, depth=False).draw(np.zeros((96, 192, 3), np.uint8), prediction)
    nearest = min(item.distance for item in prediction.hazards())
    assert tags == ["person 9.0 m", f"car {nearest:.1f} m"], "the nearest is written last"
    assert tuple(image[8, 5]) == SCENE_CLASSES.infos[car].color[::-1], "what covers most comes first"


def test_a_table_of_classes_is_a_tuple_of_names() -> None:
    table = ClassTable(SCENE_CLASSES.infos)
    assert table == tuple(item.name for item in SCENE_CLASSES.infos)
    assert table.ids("surface") == (0, 1, 2, 3)
    assert table.ids_of(["pole", "nothing"]) == (6,)
    assert table.is_obstacle[4:8].all()
    assert not table.is_obstacle[255]
