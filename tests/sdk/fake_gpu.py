"""A CUDA runtime and a TensorRT that run on the CPU, keep accounts, and fail on demand.

The CUDA fake has real (host) memory behind its pointers, streams that run at once, captures that record, and
graphs that replay, so that the code under test moves real bytes through the real sequence of calls.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.sdk.conftest import FRAME_SIZE, NET_SIZE

ACQUIRING = {
    "cudaMalloc": "cudaFree",
    "cudaHostAlloc": "cudaFreeHost",
    "cudaStreamCreateWithFlags": "cudaStreamDestroy",
    "cudaEventCreateWithFlags": "cudaEventDestroy",
    "cudaStreamEndCapture": "cudaGraphDestroy",
    "cudaGraphInstantiate": "cudaGraphExecDestroy",
}


# What cudaGetErrorName and its like take: the enumeration's members alone (cuda-python 12.9).
Code = enum.IntEnum(
    "Code",
    {
        "cudaSuccess": 0,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorInsufficientDriver": 35,
        "cudaErrorDevicesUnavailable": 46,
        "cudaErrorNotReady": 600,
        "cudaErrorIllegalAddress": 700,
        "cudaErrorContextIsDestroyed": 709,
        "cudaErrorLaunchFailure": 719,
    },
)
# Functions of one result beside the code (None where they fail); the others answer with the code alone.
GIVES_ONE = {
    "cudaGetDeviceCount",
    "cudaDriverGetVersion",
    "cudaDeviceGetAttribute",
    "cudaGetDeviceProperties",
    "cudaMalloc",
    "cudaHostAlloc",
    "cudaHostGetDevicePointer",
    "cudaStreamCreateWithFlags",
    "cudaEventCreateWithFlags",
    "cudaEventElapsedTime",
    "cudaStreamEndCapture",
    "cudaGraphInstantiate",
    "cudaGetErrorName",
    "cudaGetErrorString",
}


class Stream:
    def __init__(self) -> None:
        self.captured: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return id(self)


class Event:
    """`at` is its time, `PENDING` between being recorded and being reached."""

    PENDING = -1.0

    def __init__(self, number: int) -> None:
        # A slot makes its events in this order.
        self.stage = ("begin", "upload", "compute", "end")[number % 4]
        self.at = 0.0


class FakeCuda(types.ModuleType):
    """`cuda.bindings.runtime` as far as the SDK uses it.

    Attributes:
        calls: names of all calls, in order.
        flags: function -> how often each of its flags (or modes) was given.
        live: resource -> name of the call that frees it.
        faults: what must never happen (a double free, use of what is freed, the default stream).
        fail_at: index of the call that fails, with `code`.
        sticky: whether every later call fails, too.
        hang: "upload", "compute" or "download": that stage and what follows never ends, until `gate` is set.
    """

    cudaStreamNonBlocking = 1
    cudaEventDefault, cudaEventBlockingSync, cudaEventRecordExternal = 0, 1, 1
    cudaHostAllocPortable, cudaHostAllocMapped = 1, 2
    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = types.SimpleNamespace(
        cudaStreamCaptureModeGlobal=0, cudaStreamCaptureModeThreadLocal=1
    )
    cudaDeviceAttr = types.SimpleNamespace(
        cudaDevAttrComputeCapabilityMajor="major",
        cudaDevAttrComputeCapabilityMinor="minor",
        cudaDevAttrMultiProcessorCount="multiprocessors",
        cudaDevAttrIntegrated="integrated",
        cudaDevAttrCanMapHostMemory="map",
    )

    def __init__(self, integrated: bool = False) -> None:
        super().__init__("runtime")
        self.attributes = {
            "major": 8,
            "minor": 7,
            "multiprocessors": 8,
            "integrated": int(integrated),
            "map": 1,
        }
        self.properties = types.SimpleNamespace(name=b"Fake GPU", totalGlobalMem=15536 << 20)
        self.calls: list[str] = []
        self.flags: dict[str, Counter[int]] = {}
        self.live: dict[Any, str] = {}
        self.faults: list[str] = []
        self.fail_at: int | None = None
        self.fail_name: str | None = None
        self.code = 2
        self.sticky = False
        self.broken = 0
        self.hang: str | None = None
        self.gate = threading.Event()
        self._clock = itertools.count(1)
        self._events = itertools.count()
        self._memory: dict[int, Any] = {}
        self._lock = threading.RLock()

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("cuda") or not callable(value):
            return value

        def call(*args: Any) -> Any:
            with self._lock:
                result = self._account(name, value, args)
            if self.hang is not None and name in ("cudaEventSynchronize", "cudaStreamSynchronize"):
                self.gate.wait(30)
            return result

        return call

    def _account(self, name: str, value: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name in ("cudaGetErrorName", "cudaGetErrorString"):
            assert isinstance(args[0], Code)
            return value(*args)
        if name == "cudaGetLastError":
            return (Code(self.broken),)
        self.calls.append(name)
        if "Flags" in name or name in ("cudaHostAlloc", "cudaStreamBeginCapture"):
            self.flags.setdefault(name, Counter())[args[-1]] += 1
        freed = name in ACQUIRING.values() and args[0] != 0
        if freed and self.live.pop(args[0], None) != name:
            self.faults.append(f"{name} of {args[0]!r}, which is not alive")
        if not freed and any(
            isinstance(arg, (Stream, Event, _Graph)) and arg not in self.live for arg in args
        ):
            self.faults.append(f"{name} with {args!r}, of which something is not alive")
        failed = (None,) if name in GIVES_ONE else ()
        if self.broken and name != "cudaDeviceReset":
            return (Code(self.broken), *failed)
        if len(self.calls) - 1 == self.fail_at or name == self.fail_name:
            self.broken = self.code if self.sticky else 0
            if name == "cudaStreamEndCapture":
                args[0].captured = None
            return (Code(self.code), *failed)
        if name in ("cudaEventQuery", "cudaEventElapsedTime"):
            return value(*args)
        result = value(*args)
        results = result if isinstance(result, tuple) else (result,) if result is not None else ()
        if name in ACQUIRING and results[0]:
            self.live[results[0]] = ACQUIRING[name]
        return (Code.cudaSuccess, *results)

    # --- device ---

    def cudaGetErrorName(self, code: Code) -> Any:
        return Code.cudaSuccess, f"fakeError{int(code)}".encode()

    def cudaGetErrorString(self, code: Code) -> Any:
        return Code.cudaSuccess, b"failed on demand"

    def cudaGetLastError(self) -> None: ...

    def cudaGetDeviceCount(self) -> int:
        return 1

    def cudaSetDevice(self, device: int) -> None: ...

    def cudaDeviceReset(self) -> None:
        self.broken = 0
        self.live.clear()

    def cudaDriverGetVersion(self) -> int:
        return 12060

    def cudaDeviceGetAttribute(self, attribute: str, device: int) -> int:
        return self.attributes[attribute]

    def cudaGetDeviceProperties(self, device: int) -> Any:
        return self.properties

    # --- memory ---

    def _allocate(self, nbytes: int) -> int:
        memory = (ctypes.c_uint8 * (nbytes + 256))()
        pointer = -(-ctypes.addressof(memory) // 256) * 256
        self._memory[pointer] = memory
        return pointer

    def cudaMalloc(self, nbytes: int) -> int:
        return self._allocate(nbytes)

    def cudaHostAlloc(self, nbytes: int, flags: int) -> int:
        return self._allocate(nbytes)

    def cudaHostGetDevicePointer(self, pointer: int, flags: int) -> int:
        return pointer

    # Freed memory stays mapped here: a late read by the code under test is caught by the accounts.
    def cudaFree(self, pointer: int) -> None: ...

    def cudaFreeHost(self, pointer: int) -> None: ...

    # --- streams, events, graphs ---

    def submit(self, stream: Any, stage: str, work: Callable[[], None]) -> None:
        """Put work on a stream: run, recorded by a capture, or lost because the device hangs."""
        if not isinstance(stream, Stream):
            self.faults.append(f"work on {stream!r}, which is no stream of ours")
            return
        if stream.captured is not None:
            stream.captured.append(lambda: self._perform(stage, work))
        else:
            self._perform(stage, work)

    def _perform(self, stage: str, work: Callable[[], None]) -> None:
        order = ("begin", "upload", "compute", "download", "end")
        if self.hang is None or order.index(stage) < order.index(self.hang):
            work()

    def stream_of(self, handle: int) -> Stream | None:
        return next((item for item in self.live if isinstance(item, Stream) and int(item) == handle), None)

    def cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        return Stream()

    def cudaStreamDestroy(self, stream: Stream) -> None: ...

    def cudaStreamSynchronize(self, stream: Stream) -> None: ...

    def cudaEventCreateWithFlags(self, flags: int) -> Event:
        return Event(next(self._events))

    def cudaEventDestroy(self, event: Event) -> None: ...

    def _mark(self, event: Event) -> None:
        event.at = float(next(self._clock))

    def cudaEventRecord(self, event: Event, stream: Stream) -> None:
        event.at = Event.PENDING
        self.submit(stream, event.stage, lambda: self._mark(event))

    def cudaEventRecordWithFlags(self, event: Event, stream: Stream, flags: int) -> None:
        # In a capture: the graph records the event anew each time, and until then it keeps its old time.
        self.submit(stream, event.stage, lambda: self._mark(event))

    def cudaEventSynchronize(self, event: Event) -> None: ...

    def cudaEventQuery(self, event: Event) -> Any:
        return (Code.cudaErrorNotReady if event.at == Event.PENDING else Code.cudaSuccess,)

    def cudaEventElapsedTime(self, first: Event, second: Event) -> Any:
        if Event.PENDING in (first.at, second.at):
            return Code.cudaErrorNotReady, None
        return Code.cudaSuccess, second.at - first.at

    def cudaMemcpyAsync(self, target: int, source: int, nbytes: int, kind: int, stream: Stream) -> None:
        stage = "upload" if kind == 1 else "download"
        # Memory of the device, or of the host where the device works in it, too.
        owned = ("cudaFree", "cudaFreeHost") if self.attributes["integrated"] else ("cudaFree",)
        if self.live.get(target if kind == 1 else source) not in owned:
            self.faults.append(f"{stage} of {nbytes} bytes with no memory of the device")
        self.submit(stream, stage, lambda: ctypes.memmove(target, source, nbytes) and None)

    def cudaStreamBeginCapture(self, stream: Stream, mode: int) -> None:
        stream.captured = []

    def cudaStreamEndCapture(self, stream: Stream) -> Any:
        work, stream.captured = stream.captured, None
        return _Graph(work or [])

    def cudaGraphDestroy(self, graph: Any) -> None: ...

    def cudaGraphInstantiate(self, graph: _Graph, flags: int) -> _Graph:
        return _Graph(graph.work)

    def cudaGraphExecDestroy(self, graph: Any) -> None: ...

    def cudaGraphLaunch(self, graph: _Graph, stream: Stream) -> None:
        for work in graph.work:
            work()


class _Graph:
    def __init__(self, work: list[Callable[[], None]]) -> None:
        self.work = work


def view(pointer: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array over fake device memory."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(pointer), dtype).reshape(shape)


class FakeTensorRt(types.ModuleType):
    """`tensorrt` as far as the SDK uses it to run engines; computes the frame's corner as label and depth.

    Attributes:
        rtx: its sibling.
        refuse: the call that fails, as the library does: None or False, and a line in the log.
        open: objects made and not yet dropped, by kind.
    """

    __version__ = "10.3.0"

    class ILogger:
        class Severity(enum.Enum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None: ...

    rtx: FakeRtx
    LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
    layers = "{}"
    """What the inspector says."""
    TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__("tensorrt")
        self.cuda = cuda
        self.refuse: str | None = None
        self.counts: Counter[str] = Counter()
        self.shapes = {
            "frame": (1, *FRAME_SIZE, 3),
            "labels": (1, *NET_SIZE),
            "depth": (1, *NET_SIZE),
        }
        module = self

        class Runtime:
            engine_host_code_allowed = False

            def __init__(self, logger: Any) -> None:
                self.logger = logger
                module.counts["runtime"] += 1
                if module._refused("runtime", logger):
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                assert not self.engine_host_code_allowed
                if module._refused("deserialize", self.logger) or plan != b"fake plan":
                    return None
                return Engine(module, self.logger)

        self.Runtime = Runtime

    def nptype(self, dtype: Any) -> Any:
        return dtype

    def _refused(self, call: str, logger: Any) -> bool:
        if self.refuse != call:
            return False
        if logger is not None:
            logger.log(self.ILogger.Severity.ERROR, f"fake reason for {call}")
        return True


class Engine:
    num_io_tensors = 3

    def __init__(self, module: FakeTensorRt, logger: Any) -> None:
        self.module = module
        self.logger = logger

    def get_tensor_name(self, index: int) -> str:
        return ("frame", "labels", "depth")[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self.module.TensorIOMode
        return mode.INPUT if name == "frame" else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32 if name == "depth" else np.uint8

    def get_tensor_shape(self, name: str) -> Any:
        return (1, -1, -1, 3) if name == "frame" else self.module.shapes[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return [self.module.shapes[name]] * 3

    def create_execution_context(self, config: Any = None) -> Any:
        if config is not None:  # else a graph would be captured with the fallback kernels
            strategies = self.module.DynamicShapesKernelSpecializationStrategy
            assert config.dynamic_shapes_kernel_specialization_strategy is strategies.EAGER
        if self.module._refused("context", self.logger):
            return None
        return Context(self.module, self.logger)

    def create_runtime_config(self) -> Any:
        return RuntimeConfig(self.module)

    def create_engine_inspector(self) -> Any:
        return Inspector(self.module)


class Inspector:
    """Knows types only once it has a context with the frame's size set."""

    execution_context: Any = None

    def __init__(self, module: FakeTensorRt) -> None:
        self.module = module

    def get_engine_information(self, form: Any) -> str:
        assert form is self.module.LayerInformationFormat.JSON
        assert isinstance(self.execution_context, Context)
        return self.module.layers


class RuntimeConfig:
    """RTX alone: what its JIT compiled, as bytes."""

    def __init__(self, module: FakeTensorRt) -> None:
        self.module = module

    dynamic_shapes_kernel_specialization_strategy: Any = None

    def create_runtime_cache(self) -> Any:
        return self

    def set_runtime_cache(self, cache: Any) -> bool:
        assert cache is self
        return not self.module._refused("cache", None)

    def deserialize(self, data: bytes) -> bool:
        self.module.counts["warm starts"] += 1
        return data == b"compiled"

    def serialize(self) -> bytes:
        return b"compiled"


class Context:
    def __init__(self, module: FakeTensorRt, logger: Any) -> None:
        self.module = module
        self.logger = logger
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return not self.module._refused("shape", self.logger)

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        if pointer % 256:
            self.module.cuda.faults.append(f"{name} at {pointer}, not 256-byte aligned")
        self.addresses[name] = pointer
        return not self.module._refused("address", self.logger)

    def execute_async_v3(self, handle: int) -> bool:
        if self.module._refused("enqueue", self.logger):
            return False
        self.module.cuda.submit(self.module.cuda.stream_of(handle), "compute", self._compute)
        return True

    def _compute(self) -> None:
        shapes = self.module.shapes
        corner = view(self.addresses["frame"], shapes["frame"], np.uint8)[0, 0, 0, 0]
        view(self.addresses["labels"], shapes["labels"], np.uint8)[:] = corner
        view(self.addresses["depth"], shapes["depth"], np.float32)[:] = corner / 10


class FakeRtx(FakeTensorRt):
    """`tensorrt_rtx`: the same, with a JIT and a look at a plan before it is loaded."""

    __version__ = "1.7.1"
    EngineValidity = enum.Enum("EngineValidity", "VALID SUBOPTIMAL INVALID")
    DynamicShapesKernelSpecializationStrategy = enum.Enum("Strategy", "LAZY EAGER NONE")
    EngineInvalidityDiagnostics = enum.IntFlag(
        "EngineInvalidityDiagnostics", "VERSION_MISMATCH UNSUPPORTED_CC"
    )

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__(cuda)
        module, kinds = self, self.EngineInvalidityDiagnostics

        def get_engine_validity(runtime: Any, plan: bytes) -> Any:
            if module.refuse == "validity":
                return module.EngineValidity.INVALID, int(kinds.UNSUPPORTED_CC)
            return module.EngineValidity.VALID, 0

        self.Runtime.get_engine_validity = get_engine_validity


def install(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> FakeTensorRt:
    """Put both where the SDK imports them from."""
    bindings, top = types.ModuleType("cuda.bindings"), types.ModuleType("cuda")
    bindings.runtime, top.bindings = cuda, bindings  # type: ignore[attr-defined]
    trt, rtx = FakeTensorRt(cuda), FakeRtx(cuda)
    trt.rtx = rtx
    modules = {
        "cuda": top,
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": cuda,
        "tensorrt": trt,
        "tensorrt_rtx": rtx,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return trt
