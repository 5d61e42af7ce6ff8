"""Writes what a runtime sees and says into a recording."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from safetrip_sdk._version import __version__
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.recording.container import McapWriter
from safetrip_sdk.recording.ros2 import Ros2
from safetrip_sdk.recording.topics import (
    CAMERA_INFO,
    CONFIDENCE,
    DEPTH,
    DIAGNOSTICS,
    IMAGE,
    KINDS,
    LABEL_INFO,
    LABELS,
    METADATA,
)
from safetrip_sdk.sources.opencv import encode_image

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction
    from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
    from safetrip_sdk.runtime import Runtime

__all__ = ["FORMATS", "Recorder", "identity"]

FORMATS = ("jpeg", "png")
"""Of the frames. JPEG is small and quick; PNG is lossless: what a bit-exact replay needs."""


def identity(runtime: Runtime) -> dict[str, str]:
    """What computes a runtime's predictions: where two of these are equal, so must be the results.

    Backend, its version, device and options, precision, and the SHA-256 of the model.
    """
    from safetrip_sdk.backends import probe

    backend, bundle, options = runtime.backend, runtime.bundle, runtime.options
    if backend is None or bundle is None or runtime.precision is None:
        return {}
    manifest = bundle.manifest
    return {
        "bundle": manifest.name,
        "model_sha256": manifest.files[manifest.precisions[runtime.precision].file].sha256,
        "precision": runtime.precision,
        "backend": backend.name,
        "backend_version": probe(backend.name, options.device).version,
        "device": backend.device,
        "threads": str(options.cpu.threads),
        "bf16": str(options.cpu.bf16),
    }


class Recorder:
    """A recording in the making; see `recording.topics` for what it holds.

    Args:
        path: of the .mcap file; must not exist.
        form: of the frames, `"jpeg"` or `"png"` (lossless).
        identity: what computes the predictions, from `identity`.
        intrinsics: of the camera; written as camera_info.

    Raises:
        SafetripError: something is at the path already, or it cannot be written.
        BackendUnavailableError: mcap, rosbags or OpenCV is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        form: str = "jpeg",
        identity: dict[str, str] | None = None,
        intrinsics: CameraIntrinsics | None = None,
    ) -> None:
        if form not in FORMATS:
            raise SafetripError(f"recording: frames are {' or '.join(FORMATS)}, not {form!r}")
        self._ros = Ros2()
        self._form = form
        self._intrinsics = intrinsics
        self._device = (identity or {}).get("device", "")
        self._sequence = 0
        # Stamps in a recording count from 1970, the runtime's from when the machine was started.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._last_ns = 0
        self._writer = McapWriter(path)
        lossless = str(form == "png").lower()
        self._writer.add_metadata(
            METADATA, {"safetrip": __version__, "lossless": lossless, **(identity or {})}
        )
        for topic, kind in KINDS.items():
            self._writer.add_topic(topic, kind, self._ros.definition(kind), latched=topic == LABEL_INFO)

    def write(self, frame: NDArray[np.uint8], prediction: Prediction, origin: str = "") -> None:
        """Add one frame, (H, W, 3) uint8 BGR, and what was predicted of it."""
        ros = self._ros
        # Readers sort by stamp: two frames never have the same.
        stamp = max(self._epoch_ns + prediction.captured_at, self._last_ns + 1)
        self._last_ns = stamp
        header = ros.header(stamp)
        if self._sequence == 0:
            self._put(LABEL_INFO, stamp, ros.label_info(header, tuple(prediction.classes)))
        self._put(IMAGE, stamp, ros.compressed(header, self._form, encode_image(frame, self._form)))
        if self._intrinsics is not None:
            camera = self._intrinsics.resized(*frame.shape[:2])
            self._put(CAMERA_INFO, stamp, ros.camera_info(header, camera))
        self._put(LABELS, stamp, ros.image(header, prediction.labels))
        self._put(DEPTH, stamp, ros.image(header, prediction.depth))
        if prediction.confidence is not None:
            self._put(CONFIDENCE, stamp, ros.image(header, prediction.confidence))
        timing = prediction.timing
        values = {
            "frame_id": prediction.frame_id,
            "origin": origin,
            **{f"{stage}_ms": f"{getattr(timing, stage):.4f}" for stage in timing.__slots__},
        }
        self._put(DIAGNOSTICS, stamp, ros.diagnostics(header, "safetrip: runtime", self._device, values))
        self._writer.flush()
        self._sequence += 1

    def _put(self, topic: str, stamp: int, message: Any) -> None:
        self._writer.write(topic, stamp, self._ros.serialize(message), self._sequence)

    def close(self) -> None:
        """Complete the file; idempotent."""
        self._writer.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
