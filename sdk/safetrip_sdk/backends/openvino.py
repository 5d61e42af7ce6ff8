"""OpenVINO on the CPU: asynchronous infer requests over memory that the slots own."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.backends.base import BackendOptions, ModelSpec, StageTimes, model_spec, warm_up
from safetrip_sdk.backends.cpu_slot import CpuSlot
from safetrip_sdk.backends.openvino_rewrite import relax_argmax, rewrite_resize
from safetrip_sdk.device import core_count
from safetrip_sdk.errors import BackendUnavailableError, InferenceError
from safetrip_sdk.termination import leave_behind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OpenVinoBackend", "OpenVinoSlot", "version"]


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise BackendUnavailableError(f"openvino: not installed ({error}); pip install openvino") from error
    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    """The process's one Core, never destroyed.

    Each brings a CPU plugin that gives the thread a signal stack of its own, and puts back the one before
    when it is destroyed: of two that end in the order they began, the second puts back what the first has
    freed, and the next signal (Ctrl-C) crashes the process.
    """
    core = _import().Core()
    leave_behind(core)
    return core


def version() -> str:
    """OpenVINO's version; BackendUnavailableError where it is not installed."""
    return str(_import().__version__).split("-")[0]


class OpenVinoBackend:
    """An ONNX deploy graph compiled for the CPU at one frame size.

    Args:
        model: the ONNX file's bytes.
        options: frame size, threads, bf16.

    Raises:
        BackendUnavailableError: OpenVINO is missing, refuses the model, or bf16 is asked of a CPU without it.
    """

    name = "openvino"
    overlaps = False
    bounded = True

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        self._openvino = _import()
        core = _core()
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        if options.cpu.bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendUnavailableError(f"openvino: {self.device} has no bfloat16; leave `bf16` off")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": options.cpu.threads or core_count(),
            "INFERENCE_PRECISION_HINT": "bf16" if options.cpu.bf16 else "f32",
        }
        try:
            network = core.read_model(model)
            network.reshape({network.inputs[0]: [1, *options.frame_size, 3]})
            rewrite_resize(network)
            relax_argmax(network)
            self._compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise BackendUnavailableError(f"openvino: refuses the model: {_first_line(error)}") from error
        self.spec = _spec(self._compiled)
        self._ended = [0.0]  # when the last request ended (time.perf_counter), shared by the slots

    def make_slot(self) -> OpenVinoSlot:
        """A slot with its own infer request, run once."""
        slot = OpenVinoSlot(self._openvino, self._compiled.create_infer_request(), self.spec, self._ended)
        warm_up(slot, self.name)
        return slot

    def close(self) -> None:
        """Let go of the compiled model."""
        self._compiled = None


class OpenVinoSlot(CpuSlot):
    """One infer request with pre-bound input and outputs."""

    def __init__(self, openvino: Any, request: Any, spec: ModelSpec, ended: list[float]) -> None:
        super().__init__(spec)
        self._ended = ended
        self._launched = 0.0
        self._tensor = openvino.Tensor
        self._request = request
        self._use(self.frame)
        for name, array in self._arrays.items():
            request.set_tensor(name, self._tensor(array, shared_memory=True))
        self._running = False

    def _bind(self, frame: NDArray[np.uint8]) -> None:
        self._request.set_input_tensor(self._tensor(frame[np.newaxis], shared_memory=True))

    def launch(self) -> None:
        """Start the request."""
        self._launched = time.perf_counter()
        try:
            self._request.start_async()
        except RuntimeError as error:
            raise InferenceError(f"openvino: start failed: {_first_line(error)}") from error
        self._running = True

    def wait(self, timeout: float | None) -> bool:
        """Until the request is done; True when it is."""
        try:
            if timeout is None:
                self._request.wait()
            elif not self._request.wait_for(max(0, round(timeout * 1000))):
                return False
        except RuntimeError as error:
            self._running = False
            raise InferenceError(f"openvino: inference failed: {_first_line(error)}") from error
        self._running = False
        # The request's own clock: by the time somebody waits, it may be done for long. It starts at the
        # launch; requests run one after another, so what lies before the last one's end was queueing.
        ended = self._launched + self._request.latency / 1e3
        began = max(self._launched, self._ended[0])
        self._times = StageTimes(0.0, max(0.0, ended - began) * 1e3, 0.0)
        self._ended[0] = ended
        return True

    def stage(self) -> str:
        """Compute, or queued when nothing runs."""
        return "compute" if self._running else "queued"

    def close(self) -> None:
        """Let go of the request and its memory."""
        self._request = None
        self._bound = None


def _spec(compiled: Any) -> ModelSpec:
    def describe(port: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        return tuple(port.shape), np.dtype(port.element_type.to_dtype())

    inputs = {port.any_name: describe(port) for port in compiled.inputs}
    outputs = {}
    for port in compiled.outputs:
        known = port.names & {"labels", "depth", "confidence"}
        outputs[next(iter(known), port.any_name)] = describe(port)
    return model_spec(inputs, outputs)


def _first_line(error: BaseException) -> str:
    """OpenVINO's messages begin with source positions; the last line that says something is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
