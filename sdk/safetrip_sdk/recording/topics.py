"""What stands where in a recording."""

from __future__ import annotations

__all__ = [
    "CAMERA_INFO",
    "CONFIDENCE",
    "DEPTH",
    "DIAGNOSTICS",
    "IMAGE",
    "KINDS",
    "LABELS",
    "LABEL_INFO",
    "METADATA",
]

IMAGE = "/safetrip/image/compressed"
CAMERA_INFO = "/safetrip/camera_info"
LABEL_INFO = "/safetrip/label_info"
LABELS = "/safetrip/labels"
DEPTH = "/safetrip/depth"
CONFIDENCE = "/safetrip/confidence"
DIAGNOSTICS = "/diagnostics"

KINDS = {
    IMAGE: "sensor_msgs/msg/CompressedImage",
    CAMERA_INFO: "sensor_msgs/msg/CameraInfo",
    LABEL_INFO: "vision_msgs/msg/LabelInfo",
    LABELS: "sensor_msgs/msg/Image",
    DEPTH: "sensor_msgs/msg/Image",
    CONFIDENCE: "sensor_msgs/msg/Image",
    DIAGNOSTICS: "diagnostic_msgs/msg/DiagnosticArray",
}
"""Message types by topic. Messages of one frame bear one stamp; its DIAGNOSTICS come last."""

METADATA = "safetrip"
"""The metadata record: what computed the predictions, and whether the frames are lossless."""
