"""Streams: order, policies, drops, and ends of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import FrameSource, Runtime
from safetrip_sdk.errors import QueueFullError, RuntimeClosedError, SourceError
from tests.sdk.conftest import expected
from tests.sdk.scripted import FRAME, ScriptedBackend, ScriptedCamera, eventually, numbered, scripted


class Camera(FrameSource):
    """Live; a frame every `period`, frame n says n."""

    live = True
    frame_size = FRAME

    def __init__(self, frames: int, period: float = 0.0) -> None:
        self.name = "camera"
        self.frames = frames
        self.period = period
        self.grabbed = 0
        self.retrieved: list[int] = []

    def grab(self) -> int | None:
        if self.grabbed >= self.frames:
            return None
        time.sleep(self.period)
        self.grabbed += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        self.retrieved.append(self.grabbed)
        out[:] = self.grabbed


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_block_loses_nothing(slots: int) -> None:
    backend = ScriptedBackend(0.002, overlaps=True)
    with scripted(backend, slots) as runtime:
        values = [int(p.labels[0, 0]) for p in runtime.stream(numbered(n) for n in range(50))]
        assert values == list(range(50))
        assert runtime.stats().dropped == 0


def test_real_backend(tiny_bundle: Path, backend: str, frame: NDArray[np.uint8]) -> None:
    frames = [np.ascontiguousarray(np.roll(frame, n * 3, axis=1)) for n in range(20)]
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        for sent, prediction in zip(frames, runtime.stream(frames)):
            reference = expected(sent).mean(-1) * 80 / 255
            np.testing.assert_allclose(prediction.depth, reference, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_latest_drops_and_counts(slots: int, overlaps: bool) -> None:
    backend = ScriptedBackend(0.02, overlaps=overlaps)
    camera = Camera(60, 0.002)
    with scripted(backend, slots) as runtime:
        predictions = list(runtime.stream(camera))
        stats = runtime.stats()
    values = [int(p.labels[0, 0]) for p in predictions]
    assert values == sorted(values)
    assert len(set(values)) == len(values), "no frame is predicted twice"
    assert values[-1] == 60, "the newest frame always gets its turn"
    assert [p.frame_id + 1 for p in predictions] == values, "a dropped frame leaves a gap in the ids"
    assert stats.dropped >= 30
    # Every frame is either delivered or counted as dropped.
    assert len(values) + stats.dropped == 60


def test_latest_does_not_drop_when_the_engine_keeps_up() -> None:
    with scripted(ScriptedBackend()) as runtime:
        camera = Camera(20, 0.01)
        assert [int(p.labels[0, 0]) for p in runtime.stream(camera)] == list(range(1, 21))
        assert runtime.stats().dropped == 0


def test_latest_is_fresh_for_a_slow_consumer() -> None:
    with scripted(ScriptedBackend()) as runtime:
        camera = Camera(100, 0.002)
        ages = []
        for prediction in runtime.stream(camera, "latest"):
            ages.append(camera.grabbed - int(prediction.labels[0, 0]))
            time.sleep(0.02)
        assert len(ages) < 60
        assert sorted(ages)[len(ages) // 2] <= 4


def test_a_slow_consumer_gets_the_newest_result_and_the_older_one_is_counted() -> None:
    camera = ScriptedCamera()
    with scripted(ScriptedBackend()) as runtime:
        stream = runtime.stream(camera)
        for value in (1, 2, 3):
            camera.give(value)
            if value == 1:
                assert next(stream).labels[0, 0] == 1
            eventually(lambda count=value: camera.asked == count + 1 and runtime.stats().frames == count)
        eventually(lambda: runtime.stats().dropped == 1)
        assert next(stream).labels[0, 0] == 3
        camera.end()
        assert list(stream) == []


def test_error_policy() -> None:
    backend = ScriptedBackend(0.2)
    with scripted(backend, slots=2) as runtime:
        with pytest.raises(QueueFullError, match="camera: a frame came while all 2 slots"):
            list(runtime.stream(Camera(10), "error"))
        assert runtime.usable
        backend.seconds = 0.0
        runtime.reopen()  # waits for the two frames that still run
        assert len(list(runtime.stream(Camera(5, 0.1), "error"))) == 5


def test_memory_is_bounded_when_nobody_takes_results() -> None:
    backend = ScriptedBackend()
    taken: list[int] = []

    def endless() -> Iterator[NDArray[np.uint8]]:
        for number in range(1000):
            taken.append(number)
            yield numbered(number % 256)

    with scripted(backend, slots=2) as runtime:
        stream = runtime.stream(endless(), "block")
        next(stream)
        time.sleep(0.1)
        assert len(taken) < 12
        stream.close()  # type: ignore[attr-defined]


def test_leaving_early_stops_the_capture_thread() -> None:
    camera = Camera(100_000, 0.001)
    with scripted(ScriptedBackend()) as runtime:
        for index, _ in enumerate(runtime.stream(camera)):
            if index == 5:
                break
        assert not [thread for thread in threading.enumerate() if thread.name == "safetrip-capture"]
        assert runtime(numbered(1), timeout=5).labels[0, 0] == 1


def test_leaving_while_a_frame_waits_in_its_slot_gives_the_slot_back() -> None:
    backend = ScriptedBackend()
    camera = ScriptedCamera()
    with scripted(backend, slots=2) as runtime:
        stream = runtime.stream(camera)
        camera.give(1)
        next(stream)
        backend.gate.clear()
        camera.give(2, 3)
        eventually(lambda: camera.asked == 4)
        camera.end()
        stream.close()  # type: ignore[attr-defined]
        backend.gate.set()
        eventually(lambda: runtime._pipeline is not None and len(runtime._pipeline.pool._free) == 2)


def test_frames_go_straight_into_the_slot() -> None:
    backend = ScriptedBackend()
    targets = []

    class Watching(Camera):
        def retrieve(self, out: NDArray[np.uint8]) -> None:
            targets.append(out.ctypes.data)
            super().retrieve(out)

    with scripted(backend) as runtime:
        list(runtime.stream(Watching(8, 0.005)))
    assert set(targets) <= {slot.frame.ctypes.data for slot in backend.made}


@pytest.mark.parametrize("policy", ["latest", "block", "error"])
@pytest.mark.parametrize("where", ["grab", "retrieve"])
@pytest.mark.parametrize("kind", [SourceError, ValueError])
def test_camera_gone(policy: str, where: str, kind: type[Exception]) -> None:
    class Dying(Camera):
        def grab(self) -> int | None:
            if where == "grab" and self.grabbed == 3:
                raise kind("unplugged")
            return super().grab()

        def retrieve(self, out: NDArray[np.uint8]) -> None:
            if where == "retrieve" and self.grabbed == 3:
                raise kind("unplugged")
            super().retrieve(out)

    seen = []
    with scripted(ScriptedBackend(), slots=2) as runtime:

        def consume() -> None:
            seen.extend(int(p.labels[0, 0]) for p in runtime.stream(Dying(10, 0.01), policy))

        with pytest.raises(SourceError, match="unplugged"):
            consume()
        assert runtime.usable
        assert seen[:2] == [1, 2], "what was taken before is delivered"
        for value in range(4):
            assert runtime(numbered(value), timeout=5).labels[0, 0] == value, "no slot is lost"


def test_closing_under_a_stream() -> None:
    backend = ScriptedBackend(0.001)
    runtime = scripted(backend)
    stream = runtime.stream(Camera(100_000, 0.001))
    next(stream)
    runtime.close()
    with pytest.raises(Exception, match="closed"):
        list(stream)
    assert [slot.closed for slot in backend.made] == [1, 1]


def test_empty_and_wrong_sources() -> None:
    with scripted(ScriptedBackend()) as runtime:
        with pytest.raises(SourceError):
            list(runtime.stream([]))
        with pytest.raises(ValueError, match="policy"):
            runtime.stream([numbered(1)], "fastest")
        with pytest.raises(SourceError, match="no source of frames"):
            runtime.stream(5.0)  # type: ignore[arg-type]
        with pytest.raises(SourceError, match="987"):
            next(runtime.stream(987))  # a camera that is not there


def test_two_streams_share_a_runtime() -> None:
    results: dict[int, list[int]] = {}
    with scripted(ScriptedBackend(0.001, overlaps=True), slots=3) as runtime:

        def work(base: int) -> None:
            results[base] = [
                int(p.labels[0, 0]) for p in runtime.stream(numbered(base + n) for n in range(30))
            ]

        threads = [threading.Thread(target=work, args=(base,)) for base in (0, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert results == {base: list(range(base, base + 30)) for base in (0, 100)}


def test_a_source_that_ends_in_an_error_gives_what_is_under_way_first() -> None:
    """The last frames before the error are in flight, or wait, when it comes."""

    class Breaking(Camera):
        def grab(self) -> int | None:
            if self.grabbed >= self.frames:
                raise SourceError("unplugged")
            return super().grab()

    for policy, least in (("block", 6), ("latest", 1)):
        with scripted(ScriptedBackend(0.05), slots=2) as runtime:
            values = []
            with pytest.raises(SourceError, match="unplugged"):  # noqa: PT012
                for prediction in runtime.stream(Breaking(6), policy):
                    values.append(int(prediction.labels[0, 0]))
        assert values[-1] == 6
        assert len(values) >= least


@pytest.mark.parametrize("slots", [1, 2])
def test_closing_under_a_stream_whose_next_frame_waits(slots: int) -> None:
    """It waits in the spare buffer, or in a slot of its own: the thread that would launch it must not die."""
    backend = ScriptedBackend()
    camera = ScriptedCamera()
    runtime = scripted(backend, slots)
    stream = runtime.stream(camera)
    camera.give(1)
    assert next(stream).labels[0, 0] == 1
    backend.gate.clear()
    camera.give(2, 3)
    eventually(lambda: camera.asked == 4)
    closing = threading.Thread(target=runtime.close)
    closing.start()
    eventually(lambda: runtime._pipeline is not None and runtime._pipeline._closed)
    backend.gate.set()
    closing.join(8)  # not after 10 s, when a frame would count as hung
    assert [slot.closed for slot in backend.made] == [1] * slots
    camera.end()
    with pytest.raises(RuntimeClosedError):
        runtime(numbered(1))
    if slots == 1:
        with pytest.raises(RuntimeClosedError):
            list(stream)
    else:
        assert [int(p.labels[0, 0]) for p in stream] == [3], "it had its slot: it is finished"


def test_latest_ends_when_others_hold_the_slots_at_the_sources_end() -> None:
    backend = ScriptedBackend()
    camera = ScriptedCamera()
    values: list[int] = []
    with scripted(backend, slots=1) as runtime:

        def consume() -> None:
            values.extend(int(p.labels[0, 0]) for p in runtime.stream(camera))

        backend.gate.clear()
        other = runtime.submit(numbered(9))
        consuming = threading.Thread(target=consume)
        consuming.start()
        camera.give(1, 2, 3)
        camera.end()
        eventually(lambda: camera.asked == 4)
        backend.gate.set()
        assert other.result(10).labels[0, 0] == 9
        consuming.join(10)
        assert values == [3]
        assert runtime.stats().dropped == 2


def test_a_source_that_the_stream_opened_is_closed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ScriptedCamera] = []

    def opener(uri: str) -> ScriptedCamera:
        opened.append(ScriptedCamera())
        opened[-1].give(1, 2)
        opened[-1].end()
        return opened[-1]

    monkeypatch.setattr("safetrip_sdk.inference.stream.open_source", opener)
    with scripted(ScriptedBackend()) as runtime:
        never_begun = runtime.stream("camera://")
        del never_begun
        assert not opened
        for left_early in (True, False):
            for _ in runtime.stream("camera://", "block"):
                if left_early:
                    break
            assert [camera.closed for camera in opened] == [1] * len(opened)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            for _ in runtime.stream("camera://", "block", follow_size=True):
                1 / 0  # noqa: B018
        assert [camera.closed for camera in opened] == [1, 1, 1]
        mine = opener("")
        list(runtime.stream(mine, "block"))
        assert not mine.closed, "whoever opened it closes it"


def test_latest_hands_out_no_older_frame_after_a_newer_one() -> None:
    """One that was still copied into its slot, by the thread that delivers, when the next was launched."""
    backend = ScriptedBackend(overlaps=True)
    camera = ScriptedCamera()
    copying, copied = threading.Event(), threading.Event()

    def fail(call: str) -> None:
        if call == "load" and threading.current_thread().name == "safetrip-deliver":
            copying.set()
            copied.wait(10)

    with scripted(backend, slots=3) as runtime:
        stream = runtime.stream(camera)
        camera.give(1)
        assert next(stream).labels[0, 0] == 1
        backend.gate.clear()
        camera.give(2)
        eventually(lambda: camera.asked == 3)
        others = [threading.Thread(target=runtime, args=(numbered(9),)) for _ in range(2)]
        for other in others:
            other.start()
        eventually(lambda: runtime._pipeline is not None and not runtime._pipeline.pool._free)
        camera.give(3)  # waits for a slot, in the spare buffer
        eventually(lambda: camera.asked == 4)
        backend.fail = fail
        backend.gate.set()
        copying.wait(10)
        for other in others:
            other.join(10)
        camera.give(4)  # into a free slot
        eventually(lambda: camera.asked == 5)
        copied.set()
        camera.end()
        values = [int(prediction.labels[0, 0]) for prediction in stream]
        stats = runtime.stats()
    assert values == sorted(values)
    assert values[-1] == 4
    assert len(values) + stats.dropped == 3, "the others were dropped, and counted"
    assert stats.dropped >= 1
