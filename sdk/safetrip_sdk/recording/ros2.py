"""ROS 2 messages without ROS: the one module that imports rosbags.

Types are those of ROS 2 Humble; vision_msgs, which rosbags does not bring, is declared here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import BackendUnavailableError, SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

__all__ = ["CAMERA_FRAME", "Ros2", "image_array"]

CAMERA_FRAME = "camera_optical_frame"
"""The messages' frame_id: axes as in `CameraIntrinsics` (x right, y down, z forward)."""

_VISION_MSGS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": (
        "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
    ),
}


class Ros2:
    """Builds, serialises (CDR) and reads the messages that recordings are made of.

    Raises:
        BackendUnavailableError: rosbags is not installed.
    """

    def __init__(self) -> None:
        try:
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError as error:
            raise BackendUnavailableError(
                f"rosbags: not installed ({error}); pip install mcap rosbags"
            ) from error
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        for name, text in _VISION_MSGS.items():
            self._store.register(get_types_from_msg(text, name))

    def definition(self, kind: str) -> str:
        """The ros2msg text of a message type, with those of its parts."""
        text: str = self._store.generate_msgdef(kind, ros_version=2)[0]
        return text

    def serialize(self, message: Any) -> bytes:
        """CDR."""
        return bytes(self._store.serialize_cdr(message, message.__msgtype__))

    def deserialize(self, data: bytes, kind: str, where: str) -> Any:
        """The message in CDR `data`; SourceError, naming `where` it stood, for what is none."""
        try:
            return self._store.deserialize_cdr(data, kind)
        except Exception as error:  # its errors share no base class
            raise SourceError(f"{where}: damaged {kind} message: {type(error).__name__}: {error}") from error

    def _make(self, kind: str, *fields: Any) -> Any:
        return self._store.types[kind](*fields)

    def header(self, stamp_ns: int) -> Any:
        """std_msgs/Header; nanoseconds since 1970."""
        time = self._make("builtin_interfaces/msg/Time", *divmod(stamp_ns, 1_000_000_000))
        return self._make("std_msgs/msg/Header", time, CAMERA_FRAME)

    def compressed(self, header: Any, form: str, data: NDArray[np.uint8]) -> Any:
        """sensor_msgs/CompressedImage of a JPEG or PNG file's bytes (ROS says `jpeg` and `png`)."""
        return self._make("sensor_msgs/msg/CompressedImage", header, form, data)

    def image(self, header: Any, array: NDArray[Any]) -> Any:
        """sensor_msgs/Image of (h, w): mono8 of uint8, 32FC1 of float32."""
        encoding = {"u1": "mono8", "f4": "32FC1"}[array.dtype.str[1:]]
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        height, width = plain.shape
        data = plain.reshape(-1).view(np.uint8)
        step = width * plain.itemsize
        return self._make("sensor_msgs/msg/Image", header, height, width, encoding, 0, step, data)

    def camera_info(self, header: Any, camera: CameraIntrinsics) -> Any:
        """sensor_msgs/CameraInfo of a camera without distortion."""
        k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], np.float64)
        p = np.insert(k.reshape(3, 3), 3, 0.0, axis=1).reshape(-1)
        region = self._make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        size = (camera.height, camera.width)
        rest = ("plumb_bob", np.zeros(5), k, np.eye(3).reshape(-1), p, 0, 0, region)
        return self._make("sensor_msgs/msg/CameraInfo", header, *size, *rest)

    def label_info(self, header: Any, names: tuple[str, ...]) -> Any:
        """vision_msgs/LabelInfo: what the numbers in label images mean."""
        classes = [self._make("vision_msgs/msg/VisionClass", index, name) for index, name in enumerate(names)]
        return self._make("vision_msgs/msg/LabelInfo", header, classes, 0.0)

    def diagnostics(self, header: Any, name: str, device: str, values: dict[str, Any]) -> Any:
        """diagnostic_msgs/DiagnosticArray with one status of key and value pairs."""
        pairs = [self._make("diagnostic_msgs/msg/KeyValue", key, str(value)) for key, value in values.items()]
        status = self._make("diagnostic_msgs/msg/DiagnosticStatus", 0, name, "ok", device, pairs)
        return self._make("diagnostic_msgs/msg/DiagnosticArray", header, [status])


def image_array(message: Any, where: str) -> NDArray[Any]:
    """The array of a sensor_msgs/Image: (h, w) of mono8 and 32FC1, (h, w, 3) BGR of bgr8 and rgb8.

    Raises:
        SourceError: another encoding, or sizes that do not fit the data.
    """
    layouts = {
        "mono8": ("u1", 1),
        "8UC1": ("u1", 1),
        "32FC1": ("f4", 1),
        "bgr8": ("u1", 3),
        "rgb8": ("u1", 3),
    }
    if message.encoding not in layouts:
        raise SourceError(f"{where}: encoding {message.encoding}; {', '.join(layouts)} can be read")
    kind, channels = layouts[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row = message.width * channels * dtype.itemsize
    if message.step < row or message.data.size < message.step * message.height:
        raise SourceError(
            f"{where}: {message.data.size} bytes are no {message.height} rows of {message.step}"
        )
    rows = message.data[: message.step * message.height].reshape(message.height, message.step)[:, :row]
    array: NDArray[Any] = np.ascontiguousarray(rows).view(dtype).astype(dtype.newbyteorder("="), copy=False)
    if channels == 3:
        array = array.reshape(message.height, message.width, 3)
    if message.encoding == "rgb8":
        array = array[..., ::-1]
    return array
