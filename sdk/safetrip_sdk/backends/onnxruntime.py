"""ONNX Runtime on the CPU: a session with pre-bound memory, run by one worker thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.backends.base import BackendOptions, ModelSpec, StageTimes, model_spec, warm_up
from safetrip_sdk.backends.cpu_slot import CpuSlot
from safetrip_sdk.backends.worker import Worker
from safetrip_sdk.errors import BackendUnavailableError, InferenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DISABLED_OPTIMIZERS", "OnnxRuntimeBackend", "OnnxRuntimeSlot", "version"]

# onnxruntime 1.32 turns the float bias of a quantised convolution into INT32 steps of input scale times
# weight scale. With FP16 scales the product underflows and the bias becomes infinite, without a word: on
# street images a third of the labels changed.
DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(float)": np.dtype(np.float32),
}


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            f"onnxruntime: not installed ({error}); pip install onnxruntime"
        ) from error
    return onnxruntime


def version() -> str:
    """ONNX Runtime's version; BackendUnavailableError where it is not installed."""
    return str(_import().__version__)


class OnnxRuntimeBackend:
    """An ONNX deploy graph in a CPU session at one frame size.

    Args:
        model: the ONNX file's bytes.
        options: frame size, threads, wait.

    Raises:
        BackendUnavailableError: ONNX Runtime is missing, refuses the model, or bf16 is asked for.
    """

    name = "onnxruntime"
    device = "CPU"
    overlaps = False
    bounded = True

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        onnxruntime = _import()
        if options.cpu.bf16:
            raise BackendUnavailableError(
                "onnxruntime: computes no bfloat16 on a CPU; use backend='openvino'"
            )
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        if options.cpu.threads:
            settings.intra_op_num_threads = options.cpu.threads
        if options.wait != "spin":
            # By default its threads burn their cores between frames.
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            for name, size in _free_sides(onnxruntime, model, options.frame_size).items():
                settings.add_free_dimension_override_by_name(name, size)
            self._session = onnxruntime.InferenceSession(
                model,
                settings,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(DISABLED_OPTIMIZERS),
            )
        except Exception as error:  # its exceptions share no base class
            raise BackendUnavailableError(f"onnxruntime: refuses the model: {error}") from error
        self.spec = _spec(self._session, options.frame_size)
        self._worker = Worker("safetrip-onnxruntime")

    def make_slot(self) -> OnnxRuntimeSlot:
        """A slot with its own bindings, run once."""
        slot = OnnxRuntimeSlot(self._session, self._worker, self.spec)
        warm_up(slot, self.name)
        return slot

    def close(self) -> None:
        """End the worker thread and let go of the session."""
        self._worker.close()
        self._session = None


class OnnxRuntimeSlot(CpuSlot):
    """One set of bindings: the session reads and writes the slot's own arrays."""

    def __init__(self, session: Any, worker: Worker, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._session = session
        self._worker = worker
        self._binding = session.io_binding()
        self._use(self.frame)
        for item in spec.outputs:
            pointer = self._arrays[item.name].ctypes.data
            self._binding.bind_output(item.name, "cpu", 0, item.dtype.type, item.shape, pointer)
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._stage = "queued"

    def _bind(self, frame: NDArray[np.uint8]) -> None:
        item = self._spec.frame
        self._binding.bind_input(item.name, "cpu", 0, np.uint8, item.shape, frame.ctypes.data)

    def launch(self) -> None:
        """Hand the run to the worker thread."""
        self._done.clear()
        self._error = None
        self._stage = "queued"
        self._worker.put(self._run)

    def _run(self) -> None:
        self._stage = "compute"
        started = time.perf_counter()
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # its exceptions share no base class
            self._error = error
        finally:
            self._times = StageTimes(0.0, (time.perf_counter() - started) * 1e3, 0.0)
            self._stage = "deliver"
            self._done.set()

    def wait(self, timeout: float | None) -> bool:
        """Until the run is done; True when it is."""
        if not self._done.wait(timeout):
            return False
        self._worker.check()
        if self._error is not None:
            raise InferenceError(f"onnxruntime: inference failed: {self._error}") from self._error
        return True

    def stage(self) -> str:
        """Queued behind another slot, or compute."""
        return self._stage

    def close(self) -> None:
        """Let go of the bindings."""
        self._binding = None
        self._bound = None


def _free_sides(onnxruntime: Any, model: bytes, frame_size: tuple[int, int]) -> dict[str, int]:
    """The names of the frame's free sides -> their size, so that the session can plan its memory."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    sides = shape[1:3] if len(shape) == 4 else []
    return {side: size for side, size in zip(sides, frame_size) if isinstance(side, str) and side}


def _spec(session: Any, frame_size: tuple[int, int]) -> ModelSpec:
    def describe(value: Any, shape: Any) -> tuple[list[int], np.dtype[Any]]:
        dtype = _DTYPES.get(value.type, np.dtype(np.object_))
        return [side if isinstance(side, int) else 0 for side in shape], dtype

    inputs = {}
    for value in session.get_inputs():
        shape = list(value.shape)
        if len(shape) == 4:
            shape[1:3] = [
                free if isinstance(side, str) else side for side, free in zip(shape[1:3], frame_size)
            ]
        inputs[value.name] = describe(value, shape)
    outputs = {value.name: describe(value, value.shape) for value in session.get_outputs()}
    return model_spec(inputs, outputs)
