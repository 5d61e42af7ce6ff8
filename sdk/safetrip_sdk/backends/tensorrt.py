"""Loading and running engines of TensorRT and TensorRT for RTX.

The libraries are imported in `tensorrt_library`. Building is in `engine_build`, the cache of built engines in
`engines`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.backends.base import BackendOptions, ModelSpec, model_spec
from safetrip_sdk.backends.cuda_slot import CudaBackend, CudaSlot
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines import (
    EngineInfo,
    FoundEngine,
    find,
    find_or_build,
    keep_runtime_cache,
    key_for,
)
from safetrip_sdk.engines.apart import Task, run_apart
from safetrip_sdk.engines.layers import EngineLayer, parse_layers
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import (
    EngineError,
    EngineMismatchError,
    InferenceError,
    SafetripError,
)

if TYPE_CHECKING:
    from safetrip_sdk.bundle import Bundle

__all__ = ["TensorRtProgram", "inspect_engine", "open_backend", "probe"]

log = logging.getLogger(__name__)


def probe(name: str, device: int) -> tuple[str, str]:
    """(library's version, GPU's name); BackendUnavailableError where it is missing or there is no GPU."""
    library = Library(name)
    return library.version, Cuda(device).name


class TensorRtProgram:
    """An engine on the device.

    Args:
        library: which of the two.
        plan: the serialised engine, its hash checked.
        runtime_cache: kernels compiled by an earlier run (RTX), or empty.

    Raises:
        EngineMismatchError: the library says that the plan does not fit this device or its own version.
        EngineError: the library refuses it otherwise.
        BackendUnavailableError: the engine is no deploy graph.
    """

    def __init__(self, library: Library, plan: bytes, runtime_cache: bytes = b"") -> None:
        self._library = library
        self.name = library.name
        trt = library.trt
        library.listen()
        self._runtime: Any = library.make(trt.Runtime, EngineError)
        # Plans may carry host code; `engine_host_code_allowed` stays False, and the hash was checked before.
        _require_valid(library, self._runtime, plan)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        library.journal.check()
        if self._engine is None:
            raise EngineMismatchError(
                f"{self.name} {library.version} refuses the engine; build it here with `safetrip build`:"
                f"{library.said()}"
            )
        self.spec = _spec(trt, self._engine)
        self._config: Any = None
        self._cache: Any = None
        if library.flavor.jit:
            self._config, self._cache = self._jit(runtime_cache)

    def _jit(self, runtime_cache: bytes) -> tuple[Any, Any]:
        """RTX: a runtime configuration with the kernels that an earlier run compiled."""
        config = self._engine.create_runtime_config()
        # By default it runs fallback kernels while it compiles better ones in the background: the graph
        # captured after the first run would hold the slow ones for good, the cache kept then would lack the
        # others.
        strategies = self._library.trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        cache = config.create_runtime_cache()
        if runtime_cache and not cache.deserialize(runtime_cache):
            log.warning("%s: its runtime cache does not fit; kernels are compiled anew", self.name)
        if not config.set_runtime_cache(cache):
            log.warning("%s: takes no runtime cache; kernels are compiled at every start", self.name)
        return config, cache

    def runtime_cache(self) -> bytes:
        """The compiled kernels, to be kept beside the plan; empty where the library has none."""
        if self._cache is None:
            return b""
        data = self._cache.serialize()
        return b"" if data is None else bytes(data)

    def make_context(self) -> TensorRtContext:
        """An execution context with its own device memory."""
        arguments = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*arguments)
        if context is None:
            raise EngineError(
                f"{self.name}: no execution context (out of GPU memory?):{self._library.said()}"
            )
        frame = self.spec.frame
        if not context.set_input_shape(frame.name, frame.shape):
            raise EngineMismatchError(f"{self.name}: refuses frames of {frame.shape}:{self._library.said()}")
        return TensorRtContext(self._library, context)

    def layers(self) -> tuple[EngineLayer, ...]:
        """The engine's layers by the library's inspector: which kernel each became, and its types.

        Raises:
            EngineError: the inspector's answer cannot be read.
        """
        inspector = self._engine.create_engine_inspector()
        context = self.make_context()
        try:
            # Without a context the frame's free sides make every type "N/A due to dynamic shapes".
            inspector.execution_context = context.handle
            form = self._library.trt.LayerInformationFormat.JSON
            return parse_layers(inspector.get_engine_information(form))
        finally:
            inspector = None
            context.close()

    def close(self) -> None:
        """Drop the engine, then the runtime that made it."""
        self._cache = self._config = None
        self._engine = None
        self._runtime = None


class TensorRtContext:
    """An execution context of one slot; `handle` is the library's own object."""

    def __init__(self, library: Library, context: Any) -> None:
        self._library = library
        self.handle = context

    def bind(self, name: str, pointer: int) -> None:
        """`pointer` must be a multiple of 256."""
        if not self.handle.set_tensor_address(name, pointer):
            raise EngineError(f"{self._library.name}: refuses an address for {name}:{self._library.said()}")

    def enqueue(self, stream: int) -> None:
        """Put one run on the stream.

        Raises:
            InferenceError: the library returned False; its log is in the message.
        """
        if not self.handle.execute_async_v3(stream):
            raise InferenceError(f"{self._library.name}: enqueue failed:{self._library.said()}")

    def close(self) -> None:
        """Drop the context and its device memory."""
        self.handle = None


def _require_valid(library: Library, runtime: Any, plan: bytes) -> None:
    """RTX can say beforehand why a plan does not fit; TensorRT has no such call."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity == library.trt.EngineValidity.INVALID:
        kinds = library.trt.EngineInvalidityDiagnostics.__members__.items()
        bits = int(diagnostics)
        reasons = tuple(name.lower().replace("_", " ") for name, kind in kinds if bits & int(kind))
        # The portable engine is the same wherever it is built, and not for every GPU.
        own = " --compute-capability CURRENT" if "unsupported cc" in reasons else ""
        raise EngineMismatchError(
            f"{library.name} {library.version}: the engine does not fit this device: "
            f"{', '.join(reasons) or 'see below'}; build it here with `safetrip build{own}`:"
            f"{library.said()}",
            reasons,
        )


def _spec(trt: Any, engine: Any) -> ModelSpec:
    inputs: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    outputs: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = tuple(engine.get_tensor_shape(name))
        if is_input and -1 in shape:
            # Free in the ONNX, fixed by the one optimisation profile: minimum = optimum = maximum.
            shape = tuple(engine.get_tensor_profile_shape(name, 0)[1])
        (inputs if is_input else outputs)[name] = (shape, dtype)
    return model_spec(inputs, outputs)


def open_backend(
    name: str, bundle: Bundle, options: BackendOptions, build_if_missing: bool = False
) -> CudaBackend:
    """The bundle's engine for this device, loaded.

    Raises:
        BackendUnavailableError: library or GPU missing.
        EngineError, EngineMismatchError: there is no engine for this device; the text names the difference.
    """
    library, cuda = Library(name), Cuda(options.device)
    key = key_for(library, cuda, options.frame_size, options.precision)
    found = find_or_build(bundle, key, cuda.driver, build_if_missing, options.device)
    program = _load(library, cuda, found)
    if program.spec.frame.shape[1:3] != tuple(options.frame_size):
        program.close()
        raise EngineMismatchError(f"{found.file}: is for frames of {program.spec.frame.shape[1:3]}")
    if not library.flavor.jit:
        return CudaBackend(cuda, program, options)
    return _JitBackend(cuda, program, options, found)


def inspect_engine(bundle: Bundle, info: EngineInfo, device: int = 0) -> tuple[EngineLayer, ...]:
    """The layers of one engine of the bundle.

    Raises:
        BackendUnavailableError: its library or a GPU is missing.
        EngineError, EngineMismatchError: it does not fit this device; the text names the difference.
    """
    library, cuda = Library(info.key.backend), Cuda(device)
    key = key_for(library, cuda, (info.key.height, info.key.width), info.key.precision)
    found = find(bundle, key, cuda.driver)
    program = _load(library, cuda, found)
    try:
        return program.layers()
    finally:
        program.close()


def _load(library: Library, cuda: Cuda, found: FoundEngine) -> TensorRtProgram:
    """The engine, loaded apart: big ones take their time, and the library logs meanwhile."""

    def load(task: Task) -> TensorRtProgram:
        cuda.use()
        return TensorRtProgram(library, found.plan, found.runtime_cache)

    return run_apart(load)


class _JitBackend(CudaBackend):
    """Keeps what the JIT compiled beside the plan, so that the next start need not compile it again."""

    def __init__(
        self, cuda: Cuda, program: TensorRtProgram, options: BackendOptions, found: FoundEngine
    ) -> None:
        super().__init__(cuda, program, options)
        self._jit_program = program
        self._found: FoundEngine | None = found

    def make_slot(self) -> CudaSlot:
        """A slot; the first one's warm-up has compiled everything, so the cache is stored then."""
        make = super().make_slot
        slot = run_apart(lambda task: make())
        found, self._found = self._found, None
        if found is not None:
            try:
                keep_runtime_cache(found, self._jit_program.runtime_cache())
            except (OSError, SafetripError) as error:
                # A read-only bundle runs as well; it only starts more slowly.
                log.warning("%s: the compiled kernels could not be kept: %s", self.name, error)
        return slot
