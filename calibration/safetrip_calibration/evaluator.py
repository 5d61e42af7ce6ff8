"""Accuracy of many variants of one net on the same frames, against its FP32 graph."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.frames import FramesDigest, SelectedFrames
from safetrip_calibration.not_finite import depth_faults
from safetrip_calibration.runners import RuntimeRunner, quiet
from safetrip_calibration.scoring import Score, score_metrics
from safetrip_sdk import Runtime
from safetrip_sdk.backends import BackendOptions, probe
from safetrip_sdk.backends.base import Backend
from safetrip_sdk.manifest import Manifest

__all__ = ["Evaluator", "evaluation_key"]


def evaluation_key(frames: SelectedFrames, manifest: Manifest, min_class_share: float) -> str:
    """SHA-256 of what an `Evaluator`'s figures depend on beside the models: frames and truth, the manifest's
    classes, input and maximum depth, the share, and the backend that is here with its version.
    """
    digest = FramesDigest(truth=True)
    for item in frames:
        digest.update(item)
    net = (manifest.class_names, manifest.input, manifest.max_depth)
    backend = _backend()
    state = (digest.hexdigest(), net, min_class_share, backend, probe(backend).version)
    return hashlib.sha256(repr(state).encode()).hexdigest()


class Evaluator:
    """Runs variants through our Runtime (OpenVINO where it is, else onnxruntime) and scores them.

    The reference's labels and depth are kept: five bytes a pixel of the net's size for each frame, so choose
    tens of frames, not thousands.

    Args:
        reference: the FP32 graph.
        frames: with truth where there is any.
        manifest: for classes, input and maximum depth.
        min_class_share: of `Thresholds`.

    Raises:
        CalibrationError: the reference's own depth is not finite on these frames.
    """

    def __init__(
        self, reference: ModelProto, frames: SelectedFrames, manifest: Manifest, min_class_share: float
    ) -> None:
        quiet()
        self._frames = frames
        self._manifest = manifest
        self._min_share = min_class_share
        self._order = list(range(len(frames)))
        self._kept: dict[int, dict[str, NDArray[Any]]] = {}
        self._reference = Score(manifest)
        sizes = {}
        with self._runner(reference) as runner:
            for index in self._order:
                item = frames[index]
                sizes[index] = item.frame.shape[:2]
                outputs = self._run(runner, item.frame)
                self._kept[index] = outputs
                self._reference.update(item, outputs, outputs)
        for fault in depth_faults({"depth_not_finite": self._reference.not_finite.found}):
            raise CalibrationError(f"FP32's {fault}: its weights are damaged; export the net again")
        # A Runtime is compiled for one frame size: frames of one size come one after another.
        self._order.sort(key=lambda index: (sizes[index], index))

    def __call__(self, model: ModelProto) -> dict[str, Any]:
        """Metrics of `model`, as `compare` names them."""
        score = Score(self._manifest)
        with self._runner(model) as runner:
            for index in self._order:
                item = self._frames[index]
                score.update(item, self._run(runner, item.frame), self._kept[index])
        return score_metrics(score, self._reference, self._manifest.class_names, self._min_share)

    def _run(self, runner: RuntimeRunner, frame: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        outputs = runner.infer({self._manifest.input.name: frame[None]}, check_inputs=False)
        return {name: outputs[name] for name in ("labels", "depth")}

    def _runner(self, model: ModelProto) -> RuntimeRunner:
        data = model.SerializeToString()

        def opener(size: tuple[int, int]) -> Runtime:
            return Runtime.over(
                lambda frame_size: _open(data, frame_size),
                self._manifest.class_names,
                frame_size=size,
                slots=1,
            )

        return RuntimeRunner(opener, self._manifest.input.name, "variant")


def _backend() -> str:
    return "openvino" if probe("openvino").available else "onnxruntime"


def _open(model: bytes, frame_size: tuple[int, int]) -> Backend:
    options = BackendOptions(frame_size)
    if _backend() == "openvino":
        from safetrip_sdk.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(model, options)
    from safetrip_sdk.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, options)
