"""Polygraphy runners of a bundle: its models on onnxruntime, and on every backend of our Runtime."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.common import TensorMetadata
from polygraphy.logger import G_LOGGER

from safetrip_calibration.models_read import ModelsRead
from safetrip_sdk import Runtime
from safetrip_sdk.backends.onnxruntime import DISABLED_OPTIMIZERS
from safetrip_sdk.bundle import Bundle

__all__ = ["RUNTIME_BACKENDS", "RuntimeRunner", "make_runner", "onnx_session", "quiet"]

RUNTIME_BACKENDS = ("openvino", "tensorrt", "tensorrt_rtx")
MAX_OPEN = 2  # runtimes kept for frames of different sizes

OpenRuntime = Callable[[tuple[int, int]], Runtime]


class RuntimeRunner(BaseRunner):  # type: ignore[misc]
    """Our Runtime as a polygraphy runner: feeds `frame` (1, H, W, 3), returns labels, depth and confidence.

    A Runtime is made for one frame size; up to two sizes are kept open, so that a set of mixed sizes runs.

    Args:
        opener: makes a Runtime for frames of (H, W).
        input_name: name of the graph's input.
        name: of the runner.
    """

    def __init__(self, opener: OpenRuntime, input_name: str = "frame", name: str | None = None) -> None:
        super().__init__(name=name, prefix="safetrip-runtime")
        self._opener = opener
        self._input = input_name

    def activate_impl(self) -> None:
        self._open: OrderedDict[tuple[int, int], Runtime] = OrderedDict()

    def get_input_metadata_impl(self) -> TensorMetadata:
        return TensorMetadata().add(self._input, dtype=np.dtype(np.uint8), shape=(1, None, None, 3))

    def infer_impl(self, feed_dict: dict[str, NDArray[np.uint8]]) -> OrderedDict[str, Any]:
        frame = feed_dict[self._input][0]
        runtime = self._runtime((frame.shape[0], frame.shape[1]))
        began = time.perf_counter()
        prediction = runtime(frame)
        self.inference_time = time.perf_counter() - began
        outputs = OrderedDict(labels=prediction.labels[None], depth=prediction.depth[None])
        if prediction.confidence is not None:
            outputs["confidence"] = prediction.confidence[None]
        return outputs

    def deactivate_impl(self) -> None:
        for runtime in self._open.values():
            runtime.close()
        del self._open

    def _runtime(self, size: tuple[int, int]) -> Runtime:
        if size not in self._open:
            if len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[size] = self._opener(size)
        self._open.move_to_end(size)
        return self._open[size]


def onnx_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session that computes Q/DQ graphs as they are written, like the SDK's."""
    options = onnxruntime.SessionOptions()
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )


def make_runner(bundle: Bundle, precision: str, backend: str) -> BaseRunner:
    """The runner of one precision of `bundle` on `backend` (`"onnxruntime"` or one of RUNTIME_BACKENDS).

    A runner of a runtime raises BundleChangedError where the model is no longer that of `bundle`.
    """
    name = f"{precision} {backend}"
    if backend == "onnxruntime":
        model = bundle.read(bundle.manifest.precisions[precision].file)
        return OnnxrtRunner(lambda: onnx_session(model), name=name)

    read = ModelsRead.of(bundle, [precision])

    def opener(size: tuple[int, int]) -> Runtime:
        runtime = Runtime(bundle, backend=backend, precision=precision, slots=1, frame_size=size)
        with ExitStack() as opening:
            opening.enter_context(runtime)
            assert runtime.bundle is not None
            # It takes the bundle as it is by now: a model that took another's place is not run beside it.
            read.check(runtime.bundle.manifest)
            opening.pop_all()
            return runtime

    return RuntimeRunner(opener, bundle.manifest.input.name, name)


def quiet() -> None:
    """Errors are enough: polygraphy reports every activation, onnxruntime every FP16 node it cannot fold, the
    SDK every runtime it opens, and a comparison opens many."""
    logging.getLogger("safetrip_sdk.runtime").setLevel(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    G_LOGGER.module_severity = G_LOGGER.ERROR
