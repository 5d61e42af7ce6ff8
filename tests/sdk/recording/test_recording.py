"""Recordings: what is written is read back, by rosbags' own reader as well, whatever happens to the file."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.rosbag2.enums import StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from safetrip_sdk import CameraIntrinsics, Prediction, Runtime, Timing, open_source
from safetrip_sdk.errors import BackendUnavailableError, FrameSizeError, SafetripError, SourceError
from safetrip_sdk.recording import Comparison, Recorder, RecordingSource, compare
from safetrip_sdk.recording.container import recover_mcap
from safetrip_sdk.recording.recorder import identity
from safetrip_sdk.recording.ros2 import image_array
from tests.sdk.conftest import FRAME_SIZE

CAMERA = CameraIntrinsics(100.0, 101.0, 63.5, 47.5, 128, 96)
NAMES = ("sidewalk", "person")


def prediction(number: int, confidence: bool = True) -> Prediction:
    generator = np.random.default_rng(number)
    labels = generator.integers(0, 2, (48, 64), np.uint8)
    depth = generator.random((48, 64), np.float32) * 80
    certain = generator.integers(0, 256, (48, 64), np.uint8) if confidence else None
    timing = Timing(0.1, 0.2, 3.5, 0.4, 4.2)
    return Prediction(labels, depth, certain, NAMES, number, 1_000_000 * number, timing)


def picture(number: int, size: tuple[int, int] = FRAME_SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(number + 99).integers(0, 256, (*size, 3), np.uint8)


def record(path: Path, frames: int = 5, **options: Any) -> None:
    with Recorder(path, identity={"device": "test"}, **options) as recorder:
        for number in range(frames):
            recorder.write(picture(number), prediction(number), f"frame {number}")


def read_all(source: RecordingSource) -> list[tuple[NDArray[np.uint8], Any]]:
    found = []
    while True:
        assert source.frame_size is not None
        out = np.empty((*source.frame_size, 3), np.uint8)
        if source.read_into(out) is None:
            return found
        found.append((out, source.recorded))


def test_rosbags_reads_every_topic(tmp_path: Path) -> None:
    """The independent check: another reader, with its own idea of every message but LabelInfo."""
    path = tmp_path / "run.mcap"
    record(path, form="png", intrinsics=CAMERA)
    store = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([path], default_typestore=store) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
        assert counts == {
            "/safetrip/image/compressed": 5,
            "/safetrip/camera_info": 5,
            "/safetrip/labels": 5,
            "/safetrip/depth": 5,
            "/safetrip/confidence": 5,
            "/safetrip/label_info": 1,
            "/diagnostics": 5,
        }
        seen: dict[str, list[Any]] = {topic: [] for topic in counts}
        stamps: dict[str, list[int]] = {topic: [] for topic in counts}
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            seen[connection.topic].append(message)
            stamps[connection.topic].append(stamp)
            header = message.header.stamp
            assert header.sec * 10**9 + header.nanosec == stamp
        qos = {item.topic: item.ext.offered_qos_profiles for item in reader.connections}  # type: ignore[union-attr]
    assert qos["/safetrip/label_info"][0].durability == QosDurability.TRANSIENT_LOCAL
    assert qos["/safetrip/depth"][0].durability == QosDurability.VOLATILE
    for number in range(5):
        wanted = prediction(number)
        image = seen["/safetrip/image/compressed"][number]
        assert image.format == "png"
        assert np.array_equal(cv2.imdecode(np.asarray(image.data), cv2.IMREAD_COLOR), picture(number))
        depth = seen["/safetrip/depth"][number]
        assert (depth.encoding, depth.height, depth.width, depth.step) == ("32FC1", 48, 64, 256)
        assert np.array_equal(depth.data.view("<f4").reshape(48, 64), wanted.depth)
        labels = seen["/safetrip/labels"][number]
        assert labels.encoding == "mono8"
        assert np.array_equal(labels.data.reshape(48, 64), wanted.labels)
        values = {item.key: item.value for item in seen["/diagnostics"][number].status[0].values}
        assert values["compute_ms"] == "3.5000"
        assert values["origin"] == f"frame {number}"
    info = seen["/safetrip/camera_info"][0]
    np.testing.assert_allclose(info.k.reshape(3, 3), [[100, 0, 63.5], [0, 101, 47.5], [0, 0, 1]])
    assert (info.width, info.height) == (128, 96)
    np.testing.assert_allclose(info.p.reshape(3, 4), np.c_[info.k.reshape(3, 3), np.zeros(3)])
    classes = seen["/safetrip/label_info"][0].class_map
    assert [(item.class_id, item.class_name) for item in classes] == [(0, "sidewalk"), (1, "person")]
    gaps = np.diff(stamps["/safetrip/depth"])
    assert gaps.tolist() == [1_000_000] * 4, "the frames' own times"


@pytest.mark.parametrize(("frames", "fps"), [(1, 0), (2, 1000), (20, 1000)])
def test_a_recording_knows_its_rate_and_reading_ahead_loses_nothing(
    tmp_path: Path, frames: int, fps: float
) -> None:
    path = tmp_path / "run.mcap"
    record(path, frames)
    source = RecordingSource(path)
    assert source.fps == pytest.approx(fps)
    assert [result.values["frame_id"] for _, result in read_all(source)] == [
        str(number) for number in range(frames)
    ]


def test_replay_gives_frames_results_and_intrinsics(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    record(path, form="png", intrinsics=CAMERA)
    with open_source(f"mcap://{path}") as source:
        assert isinstance(source, RecordingSource)
        assert source.lossless
        assert source.frame_size == FRAME_SIZE
        frames = read_all(source)
        assert source.intrinsics == CAMERA
        assert source.media_time == pytest.approx(0.004)
    assert len(frames) == 5
    for number, (image, result) in enumerate(frames):
        assert np.array_equal(image, picture(number))
        assert compare(prediction(number), result) is None
        assert result.values["frame_id"] == str(number)
        other = prediction(number + 100)
        difference = compare(other, result, "x")
        assert difference is not None
        assert difference.agreement == pytest.approx(float((other.labels == result.labels).mean()))
    assert isinstance(open_source(path), RecordingSource), "a plain path does as well"


def test_stamps_count_from_1970_and_rise_and_the_camera_is_that_of_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    same = replace(prediction(0), captured_at=time.monotonic_ns())
    with Recorder(path, intrinsics=CAMERA) as recorder:
        for _ in range(3):
            recorder.write(picture(0, (48, 64)), same)
    with open(path, "rb") as file:
        rows = [(channel.topic, item) for _, channel, item in make_reader(file).iter_messages()]
    images = [item for topic, item in rows if topic == "/safetrip/image/compressed"]
    assert abs(images[0].log_time - time.time_ns()) < 60e9
    assert np.diff([item.log_time for item in images]).tolist() == [1, 1], "no two frames have the same"
    assert [item.sequence for item in images] == [0, 1, 2]
    source = RecordingSource(path)
    read_all(source)
    assert source.intrinsics == CAMERA.resized(48, 64)


def test_recovering_changes_no_message_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    path, whole = tmp_path / "run.mcap", tmp_path / "whole.mcap"
    record(path, form="png")
    assert recover_mcap(path, whole) == 5 * 5 + 1
    found = []
    for item in (path, whole):
        with open(item, "rb") as file:
            found.append(
                [(channel.topic, message) for _, channel, message in make_reader(file).iter_messages()]
            )
    fields = ("log_time", "publish_time", "sequence", "data")
    first, second = (
        [(topic, *(getattr(message, name) for name in fields)) for topic, message in rows] for rows in found
    )
    assert first == second
    (tmp_path / "text.mcap").write_bytes(b"hello, world")
    with pytest.raises(SourceError, match="no MCAP file"):
        recover_mcap(tmp_path / "text.mcap", tmp_path / "new.mcap")
    assert {item.name for item in tmp_path.iterdir()} == {"run.mcap", "whole.mcap", "text.mcap"}


def test_a_recording_of_another_system_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "x.mcap", "wb") as file:
        writer = Writer(file)
        writer.start(profile="ros1", library="somebody's")
        writer.finish()
    with pytest.raises(SourceError, match="profile 'ros1'; only ROS 2"):
        RecordingSource(tmp_path / "x.mcap")


@pytest.mark.parametrize("order", ["<", ">"])
def test_images_with_padded_rows_and_either_byte_order_are_read(order: str) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows = np.zeros((2, 16), np.uint8)  # twelve bytes, and four that mean nothing
    rows[:, :12] = values.astype(f"{order}f4").view(np.uint8)
    message = SimpleNamespace(
        encoding="32FC1", is_bigendian=order == ">", width=3, height=2, step=16, data=rows.ravel()
    )
    assert np.array_equal(image_array(message, "x"), values)
    message.data = rows.ravel()[:-1]
    with pytest.raises(SourceError, match="31 bytes are no 2 rows of 16"):
        image_array(message, "x")


def test_what_differs_is_found_and_held_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    record(path, frames=1, form="png")
    ((_, result),) = read_all(RecordingSource(path))
    now = prediction(0)
    deeper = compare(replace(now, depth=now.depth + np.float32(0.5)), result)
    assert deeper is not None
    assert (deeper.agreement, deeper.depth_max) == (1.0, pytest.approx(0.5, abs=1e-4))
    assert compare(replace(now, confidence=None), result) is not None
    other = replace(now, labels=1 - now.labels)
    for least, ok in ((0.01, False), (0.0, True)):
        loose = Comparison(exact=False, least=least)
        loose.add(other, result, "0")
        assert (loose.ok, len(loose.failed), loose.agreement) == (ok, 0 if ok else 1, 0.0)


def test_jpeg_is_smaller_close_and_not_called_lossless(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(picture(1), (0, 0), 8)
    for form in ("jpeg", "png"):
        with Recorder(tmp_path / form, form) as recorder:
            recorder.write(smooth, prediction(0, confidence=False))
    assert (tmp_path / "jpeg").stat().st_size < (tmp_path / "png").stat().st_size
    source = RecordingSource(tmp_path / "jpeg")
    ((image, result),) = read_all(source)
    assert not source.lossless
    assert result.confidence is None
    assert np.abs(image.astype(int) - smooth).max() < 12


def test_frames_of_another_size_come_again(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.mcap", "png") as recorder:
        recorder.write(picture(0), prediction(0))
        recorder.write(picture(1, (40, 50)), prediction(1))
    source = RecordingSource(tmp_path / "run.mcap")
    out = np.empty((*FRAME_SIZE, 3), np.uint8)
    source.read_into(out)
    with pytest.raises(FrameSizeError, match="is 40x50"):
        source.read_into(out)
    small = np.empty((40, 50, 3), np.uint8)
    assert source.read_into(small) is not None
    assert np.array_equal(small, picture(1, (40, 50)))
    assert source.read_into(small) is None


@pytest.mark.parametrize("name", ["mcap", "rosbags"])
def test_what_is_missing_can_be_installed_beside_a_jetsons_opencv(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [item for item in sys.modules if item.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailableError, match=rf"{name}: not installed .*pip install mcap rosbags"):
        Recorder(tmp_path / "run.mcap")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_bytes(b"mine")
    with pytest.raises(SafetripError, match=r"run\.mcap: exists already"):
        Recorder(path)
    assert path.read_bytes() == b"mine"
    with pytest.raises(SafetripError, match="No such file"):
        Recorder(tmp_path / "no" / "run.mcap")
    with pytest.raises(SafetripError, match="jpeg or png"):
        Recorder(tmp_path / "x.mcap", "bmp")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_file_that_breaks_off_is_read_up_to_its_last_chunk(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.mcap"
    with Recorder(path, "png") as recorder:
        for number in range(40):
            recorder.write(picture(number, (300, 400)), prediction(number))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    source = RecordingSource(path)
    frames = read_all(source)
    assert share * 40 - 8 < len(frames) <= 40
    complete = [result for _, result in frames if result is not None]
    assert len(frames) - 1 <= len(complete), "at most the last frame is not whole"
    for number, result in enumerate(complete):
        assert compare(prediction(number), result) is None
    assert "breaks off (EndOfFile)" in caplog.text


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with Recorder(path, "png") as recorder:
        for number in range(40):
            recorder.write(picture(number, (300, 400)), prediction(number))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    frames = read_all(RecordingSource(path))
    assert 10 < len(frames) < 40
    for number, (image, _) in enumerate(frames[:-1]):
        assert np.array_equal(image, picture(number, (300, 400)))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "no MCAP file"), (b"hello, world", "no MCAP file"), (None, "No such file")],
)
def test_what_is_no_recording(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "x.mcap"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SourceError, match=rf"x\.mcap: {message}"):
        RecordingSource(path)
    Recorder(tmp_path / "empty.mcap").close()
    with pytest.raises(SourceError, match="no images in it"):
        RecordingSource(tmp_path / "empty.mcap")


def test_others_recordings_are_sources_as_well(tmp_path: Path) -> None:
    """A bag written by rosbags' own writer, with raw rgb8 images and a type of somebody's own."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg("int32 x\n", "mine/msg/Thing"))
    types = store.types
    with BagWriter(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        images = bag.add_connection("/camera/image_raw", "sensor_msgs/msg/Image", typestore=store)
        things = bag.add_connection("/things", "mine/msg/Thing", typestore=store)
        for number in range(3):
            time = types["builtin_interfaces/msg/Time"](number, 0)
            header = types["std_msgs/msg/Header"](time, "camera")
            data = picture(number)[..., ::-1].reshape(-1)
            message = types["sensor_msgs/msg/Image"](header, 96, 128, "rgb8", 0, 384, data)
            bag.write(images, number * 10**9, store.serialize_cdr(message, "sensor_msgs/msg/Image"))
            thing = types["mine/msg/Thing"](number)
            bag.write(things, number * 10**9, store.serialize_cdr(thing, "mine/msg/Thing"))
    (path,) = (tmp_path / "bag").glob("*.mcap")
    source = RecordingSource(path)
    frames = read_all(source)
    assert [np.array_equal(image, picture(number)) for number, (image, _) in enumerate(frames)] == [True] * 3
    assert [result for _, result in frames] == [None] * 3
    assert source.media_time == 2.0
    with pytest.raises(SourceError, match="no images in it under /nothing"):
        open_source(f"mcap://{path}?topic=/nothing")


def test_what_counts_as_the_same(tiny_bundle: Path, frame: NDArray[np.uint8], tmp_path: Path) -> None:
    with Runtime(tiny_bundle, backend="onnxruntime", precision="fp32") as runtime:
        assert identity(runtime) == {}
        first = runtime(frame)
        here = identity(runtime)
        with Recorder(tmp_path / "run.mcap", "png", here) as recorder:
            recorder.write(frame, first)
        source = RecordingSource(tmp_path / "run.mcap")
        ((image, result),) = read_all(source)
        comparison = Comparison.between(source.identity, identity(runtime), source.lossless, None)
        comparison.add(runtime(image), result, "0")
        assert comparison.exact
        assert comparison.ok
    with Runtime(tiny_bundle, backend="openvino", precision="fp16") as runtime:
        other = runtime(image)
        loose = Comparison.between(source.identity, identity(runtime), source.lossless, None)
        loose.add(other, result, "0")
        assert not loose.exact
        assert {item.split(":")[0] for item in loose.changed} >= {"backend", "precision", "model_sha256"}
        assert loose.agreement > 0.99
        assert loose.ok
        strict = Comparison(exact=True, least=1.0)
        assert not strict.ok, "nothing compared is not good"
        strict.add(other, result, "0")
        strict.add(other, None, "1")
        assert strict.missing == 1
        assert strict.ok == (not strict.differences)
        assert strict.differences, "FP16 is not FP32 bit by bit"
