"""A recording as a source of frames, each with the result that was recorded for it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import SourceError
from safetrip_sdk.recording.container import RecordedMessage, read_mcap
from safetrip_sdk.recording.ros2 import Ros2, image_array
from safetrip_sdk.recording.topics import CAMERA_INFO, CONFIDENCE, DEPTH, DIAGNOSTICS, IMAGE, LABELS, METADATA
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.sources.base import FrameSource, SourceStats, other_size
from safetrip_sdk.sources.opencv import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RecordedResult", "RecordingSource"]

_COMPRESSED, _PLAIN = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"


_RATED = 16
"""Frames that are read ahead to know their rate."""


def _rate(stamps: list[int]) -> float:
    """Frames a second of nanoseconds that rise; 0 where they do not tell."""
    passed = (stamps[-1] - stamps[0]) / 1e9 if stamps else 0.0
    return (len(stamps) - 1) / passed if passed > 0 else 0.0


@dataclass(frozen=True, eq=False)
class RecordedResult:
    """What was predicted when the recording was made.

    Attributes:
        labels, depth, confidence: as in `Prediction`.
        values: frame_id, origin and the milliseconds of each stage, as text.
    """

    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    confidence: NDArray[np.uint8] | None
    values: dict[str, str]


@dataclass
class _Frame:
    """Messages of one frame, as they come."""

    image: RecordedMessage
    where: str
    arrays: dict[str, Any] = field(default_factory=dict)
    values: dict[str, str] | None = None

    @property
    def result(self) -> RecordedResult | None:
        """None where the recording has none, or breaks off within it."""
        if self.values is None or LABELS not in self.arrays or DEPTH not in self.arrays:
            return None
        arrays = self.arrays
        return RecordedResult(arrays[LABELS], arrays[DEPTH], arrays.get(CONFIDENCE), self.values)


class RecordingSource(FrameSource):
    """The frames of a ROS 2 recording (MCAP): one of `safetrip run --record`, or any with an image topic.

    Args:
        path: of the .mcap file.
        topic: of the images; None: that of our own recordings, else the first image topic in the file.

    Attributes:
        identity: what computed the recorded predictions, and `lossless`; empty in others' recordings.
        recorded: the result recorded for the frame grabbed last; None where there is none.

    Raises:
        SourceError: no such file, no ROS 2 recording, or no images in it.
        BackendUnavailableError: mcap, rosbags or OpenCV is not installed.
    """

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        self.name = str(path)
        self._ros = Ros2()
        self._topic = topic
        self.identity: dict[str, str] = {}
        self.recorded: RecordedResult | None = None
        self._reader = self._read(Path(path))
        ahead = list(itertools.islice(self._reader, _RATED))
        self.fps = _rate([frame.image.stamp_ns for frame in ahead])
        self._frames = itertools.chain(ahead, self._reader)
        self._count = 0
        self._first_ns = 0
        self._waiting: _Frame | None = next(self._frames, None)
        if self._waiting is None:
            raise SourceError(f"{path}: no images in it" + (f" under {topic}" if topic else ""))
        self._first_ns = self._waiting.image.stamp_ns
        self._image = self._decode(self._waiting)
        self.frame_size = self._image.shape[:2]
        self.media_time = 0.0

    @property
    def lossless(self) -> bool:
        """True when the frames are, bit by bit, those that were predicted."""
        return self.identity.get("lossless") == "true"

    def _read(self, path: Path) -> Generator[_Frame, None, None]:
        """The file's frames, each once its messages are complete."""
        frame: _Frame | None = None
        count = 0
        for message in read_mcap(path):
            if not message.kind:
                if message.topic == METADATA:
                    self.identity = message.metadata
                continue
            if message.topic == CAMERA_INFO and self.intrinsics is None:
                self.intrinsics = self._camera(message)
            if self._is_image(message):
                if frame is not None:
                    yield frame
                frame = _Frame(message, f"{self.name}#{count}")
                count += 1
            elif frame is not None and message.stamp_ns == frame.image.stamp_ns:
                self._add(frame, message)
        if frame is not None:
            yield frame

    def _is_image(self, message: RecordedMessage) -> bool:
        if self._topic is None and message.kind in (_COMPRESSED, _PLAIN):
            self._topic = IMAGE if self.identity else message.topic
        return message.topic == self._topic

    def _add(self, frame: _Frame, message: RecordedMessage) -> None:
        if message.topic in (LABELS, DEPTH, CONFIDENCE):
            image = self._ros.deserialize(message.data, message.kind, frame.where)
            frame.arrays[message.topic] = image_array(image, frame.where)
        elif message.topic == DIAGNOSTICS:
            array = self._ros.deserialize(message.data, message.kind, frame.where)
            frame.values = {item.key: item.value for status in array.status for item in status.values}

    def _camera(self, message: RecordedMessage) -> CameraIntrinsics:
        info = self._ros.deserialize(message.data, message.kind, self.name)
        fx, cx, fy, cy = (float(info.k[index]) for index in (0, 2, 4, 5))
        try:
            return CameraIntrinsics(fx, fy, cx, cy, int(info.width), int(info.height))
        except ValueError as error:
            raise SourceError(f"{self.name}: {message.topic}: {error}") from error

    def _decode(self, frame: _Frame) -> NDArray[np.uint8]:
        message = self._ros.deserialize(frame.image.data, frame.image.kind, frame.where)
        if frame.image.kind == _COMPRESSED:
            return decode_image(np.asarray(message.data, np.uint8), frame.where)
        array = image_array(message, frame.where)
        if array.ndim != 3:
            raise SourceError(f"{frame.where}: encoding {message.encoding} is no colour image")
        return array

    def grab(self) -> int | None:
        """The next frame; None at the end of what was recorded."""
        frame, self._waiting = self._waiting, None
        if frame is None:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._image = self._decode(frame)
        self.origin = frame.where
        self.recorded = frame.result
        self.media_time = (frame.image.stamp_ns - self._first_ns) / 1e9
        self._again = frame
        self._count += 1
        return time.monotonic_ns()

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Copy the decoded frame.

        Raises:
            FrameSizeError: it is not of the size of those before; the next `grab` gives it again.
        """
        if self._image.shape != out.shape:
            self.frame_size = self._image.shape[:2]
            self._waiting = self._again
            self._count -= 1
            raise other_size(self.origin, self._image.shape, out.shape)
        np.copyto(out, self._image)

    def stats(self) -> SourceStats:
        """Frames given."""
        return SourceStats(frames=self._count)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._reader.close()
