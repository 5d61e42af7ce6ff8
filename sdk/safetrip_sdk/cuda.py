"""CUDA: the one module that imports it. Memory, streams, events and graphs on one device.

Everything is asked of `cuda.bindings.runtime` (cuda-python 12.9 and 13), every return code is looked at, and
no call uses the default stream.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from safetrip_sdk.errors import BackendUnavailableError, CudaError, DeviceLostError
from safetrip_sdk.handles import Handle, PinnedBuffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cuda"]

log = logging.getLogger(__name__)

ALIGNMENT = 256
NOT_READY = 600
INSUFFICIENT_DRIVER = 35
CONTEXT_DESTROYED = 709
# Errors after which every further call in this process fails: the context is corrupt (CUDA runtime API,
# cudaError_t: "must be terminated and relaunched"), or gone. 720 (a cooperative launch that is too large) is
# none.
STICKY = frozenset({214, 220, 226, 700, 702, CONTEXT_DESTROYED, 710, 714, 715, 716, 717, 718, 719, 721, 999})
# No device, device unavailable, not permitted, uninitialised, runtime shutting down.
LOST = frozenset({4, 46, 100, 101, 201, 802})

FORGOTTEN = -1
"""A generation that no device has."""
_resets: Counter[int] = Counter()
"""Of each device, by this process: one takes along what every `Cuda` on the device holds."""
_opening = threading.Lock()
"""Two that find a broken context must not each reset it: the second would take what the first has made."""


class Cuda:
    """The CUDA runtime on one device.

    Args:
        device: index of the GPU.

    Attributes:
        name: as CUDA says it; every Jetson Orin is "Orin".
        model: name, multiprocessors and memory, which tell those apart: "Orin 8 SM 8 GB".
        compute_capability: (major, minor).
        driver: the driver's CUDA version.
        integrated: the GPU works in the CPU's memory.

    Raises:
        BackendUnavailableError: no cuda-python, no driver, or no such GPU.
    """

    def __init__(self, device: int = 0) -> None:
        self._rt = _import()
        self.device = device
        with _opening:
            self._generation = _resets[device]
            count = self._count()
            if device >= count:
                raise BackendUnavailableError(f"CUDA: no GPU {device}; there are {count}")
            self._recover()
        attribute = self._rt.cudaDeviceAttr
        major = self._attribute(attribute.cudaDevAttrComputeCapabilityMajor)
        minor = self._attribute(attribute.cudaDevAttrComputeCapabilityMinor)
        self.compute_capability = (major, minor)
        properties = self.call("cudaGetDeviceProperties", device)
        name = properties.name
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        multiprocessors = self._attribute(attribute.cudaDevAttrMultiProcessorCount)
        self.model = f"{self.name} {multiprocessors} SM {_sold_as_gb(properties.totalGlobalMem)} GB"
        self.driver = str(self.call("cudaDriverGetVersion"))
        self.integrated = bool(
            self._attribute(attribute.cudaDevAttrIntegrated)
            and self._attribute(attribute.cudaDevAttrCanMapHostMemory)
        )

    def _count(self) -> int:
        code, count = self._rt.cudaGetDeviceCount()
        if int(code) in STICKY:
            # Not this call's error, but what an earlier launch left behind.
            self._reset(self._error("cudaGetDeviceCount", code))
            code, count = self._rt.cudaGetDeviceCount()
        if int(code) != 0:
            self._rt.cudaGetLastError()
            # cuda-python for a newer CUDA than the driver's says the same as no driver at all.
            older = " or take cuda-python for its CUDA (JetPack 6: 'cuda-python>=12.9.1,<13')"
            hint = older if int(code) == INSUFFICIENT_DRIVER else ""
            raise BackendUnavailableError(
                f"CUDA: no usable GPU ({self._describe(code)}); install or update the NVIDIA driver{hint}"
            )
        return int(count)

    def _recover(self) -> None:
        """Make the device current; a context broken by an earlier sticky error is torn down and made anew."""
        try:
            self.use()
            self.call("cudaFree", 0)
        except CudaError as error:
            # A reset takes along what others in this process have on the GPU. One that is gone, or held by
            # another process, it does not bring back.
            if not error.sticky or error.code in LOST:
                raise
            self._reset(error)
            try:
                self.use()
                self.call("cudaFree", 0)
            except CudaError as again:
                raise DeviceLostError(
                    f"GPU {self.device} stays unusable after a reset of its context; start the process anew: "
                    f"{again}",
                    call=again.call,
                    code=again.code,
                    sticky=True,
                ) from error

    def _reset(self, error: CudaError) -> None:
        log.warning("resetting the GPU's context, which is broken: %s", error)
        _resets[self.device] += 1
        self._generation = _resets[self.device]
        # Both answer with the error of the broken context even where they do what they should; whether it
        # helped shows at the next call. A thread resets the device that is current in it.
        for name, arguments in (("cudaSetDevice", (self.device,)), ("cudaDeviceReset", ())):
            code = getattr(self._rt, name)(*arguments)[0]
            if int(code) != 0:
                log.debug("%s while resetting: %s", name, self._describe(code))
        self._rt.cudaGetLastError()

    def _attribute(self, attribute: Any) -> int:
        return int(self.call("cudaDeviceGetAttribute", attribute, self.device))

    @property
    def lost(self) -> bool:
        """True when the device was reset since: what was made here is gone, its addresses may be others'."""
        return self._generation != _resets[self.device]

    def check(self) -> None:
        """DeviceLostError when `lost`."""
        if self.lost:
            raise self._gone()

    def _gone(self) -> DeviceLostError:
        return DeviceLostError(
            f"GPU {self.device} was reset elsewhere in this process, by another runtime after an error that "
            "broke its context, say; reopen() this runtime, too",
            sticky=True,
        )

    def use(self) -> None:
        """Make the device current in the calling thread: others may have made theirs so since."""
        self.call("cudaSetDevice", self.device)

    def call(self, name: str, *args: Any) -> Any:
        """Call the runtime's function `name`; its result without the code, or CudaError.

        Nothing is called any more once the device was `lost`.
        """
        self.check()
        code, *results = getattr(self._rt, name)(*args)
        if int(code) != 0:
            raise self._error(name, code)
        return results[0] if len(results) == 1 else tuple(results) if results else None

    def _error(self, name: str, code: Any) -> CudaError:
        if self.lost:  # while CUDA was at it
            return self._gone()
        number = int(code)
        if number == CONTEXT_DESTROYED:  # by another library in the process
            self._generation = FORGOTTEN
        # The first call fetches and clears an ordinary error; a sticky one is still there afterwards.
        self._rt.cudaGetLastError()
        again = self._rt.cudaGetLastError()[0]
        sticky = number in STICKY or int(again) != 0
        kind = DeviceLostError if number in LOST else CudaError
        end = "; reopen() the runtime, or, where that does not help, start the process anew" if sticky else ""
        return kind(
            f"{name} failed: {self._describe(code)}{end}",
            call=name,
            code=number,
            sticky=sticky or number in LOST,
        )

    def _describe(self, code: Any) -> str:
        parts = [self._rt.cudaGetErrorName(code)[1], self._rt.cudaGetErrorString(code)[1]]
        name, text = (part.decode() if isinstance(part, bytes) else str(part) for part in parts)
        return f"{name} ({int(code)}): {text}"

    # --- resources -----------------------------------------------------------------------------------------

    def malloc(self, nbytes: int) -> Handle:
        """Device memory, 256-byte aligned."""
        pointer = int(self.call("cudaMalloc", nbytes))
        buffer = Handle(pointer, lambda value: self.call("cudaFree", value))
        _require_aligned(buffer)
        return buffer

    def pinned(self, nbytes: int, mapped: bool) -> PinnedBuffer:
        """Page-locked host memory; `mapped` makes it visible to the GPU under `device_pointer`."""
        rt = self._rt
        flags = rt.cudaHostAllocPortable | (rt.cudaHostAllocMapped if mapped else 0)
        pointer = int(self.call("cudaHostAlloc", nbytes, flags))

        def free(value: Any) -> None:
            self.call("cudaFreeHost", value)

        try:
            device = int(self.call("cudaHostGetDevicePointer", pointer, 0)) if mapped else None
        except CudaError:
            Handle(pointer, free).close()
            raise
        buffer = PinnedBuffer(pointer, nbytes, device, free)
        _require_aligned(buffer)
        return buffer

    def stream(self) -> Handle:
        """A stream that does not synchronise with the default stream."""
        handle = self.call("cudaStreamCreateWithFlags", self._rt.cudaStreamNonBlocking)
        return Handle(handle, lambda value: self.call("cudaStreamDestroy", value))

    def event(self, blocking: bool = False) -> Handle:
        """A timing event; `blocking` makes waiting for it free the core."""
        flags = self._rt.cudaEventBlockingSync if blocking else self._rt.cudaEventDefault
        handle = self.call("cudaEventCreateWithFlags", flags)
        return Handle(handle, lambda value: self.call("cudaEventDestroy", value))

    # --- work on a stream ----------------------------------------------------------------------------------

    def record(self, event: Handle, stream: Handle) -> None:
        """Mark this place in the stream."""
        self.call("cudaEventRecord", event.value, stream.value)

    def record_external(self, event: Handle, stream: Handle) -> None:
        """Mark this place in a stream that may be under capture, so that the graph records the event anew."""
        flag = self._rt.cudaEventRecordExternal
        self.call("cudaEventRecordWithFlags", event.value, stream.value, flag)

    def upload(self, target: int, source: int, nbytes: int, stream: Handle) -> None:
        """Copy host to device."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", target, source, nbytes, kind, stream.value)

    def download(self, target: int, source: int, nbytes: int, stream: Handle) -> None:
        """Copy device to host."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", target, source, nbytes, kind, stream.value)

    def copy_out(self, target: NDArray[Any], source: int, stream: Handle) -> None:
        """Copy device (or mapped) memory into an array and wait."""
        self.download(target.ctypes.data, source, target.nbytes, stream)
        self.synchronize(stream)

    def synchronize(self, stream: Handle) -> None:
        """Wait for the stream."""
        self.call("cudaStreamSynchronize", stream.value)

    def wait(self, event: Handle) -> None:
        """Wait for an event."""
        self.call("cudaEventSynchronize", event.value)

    def reached(self, event: Handle) -> bool:
        """True when the event's place in its stream has been passed."""
        self.check()
        code = self._rt.cudaEventQuery(event.value)[0]
        if int(code) == NOT_READY:
            return False
        if int(code) != 0:
            raise self._error("cudaEventQuery", code)
        return True

    def elapsed(self, first: Handle, second: Handle) -> float | None:
        """Milliseconds between two events (below 0: `second` is older); None while one is not reached."""
        self.check()
        code, milliseconds = self._rt.cudaEventElapsedTime(first.value, second.value)
        if int(code) == NOT_READY:
            return None
        if int(code) != 0:
            raise self._error("cudaEventElapsedTime", code)
        return float(milliseconds)

    def capture(self, stream: Handle, enqueue: Callable[[], None]) -> Handle:
        """What `enqueue` puts on the stream, as an executable graph.

        Raises:
            CudaError: something in it cannot be captured; the stream is usable again.
            Exception: from `enqueue`; the stream is usable again.
        """
        mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", stream.value, mode)
        try:
            enqueue()
        except BaseException:
            self._abandon_capture(stream)
            raise
        graph = self.call("cudaStreamEndCapture", stream.value)
        try:
            executable = self.call("cudaGraphInstantiate", graph, 0)
        finally:
            Handle(graph, lambda value: self.call("cudaGraphDestroy", value)).close()
        return Handle(executable, lambda value: self.call("cudaGraphExecDestroy", value))

    def _abandon_capture(self, stream: Handle) -> None:
        if self.lost:
            return
        code, *graph = self._rt.cudaStreamEndCapture(stream.value)
        if int(code) == 0:
            Handle(graph[0], lambda value: self.call("cudaGraphDestroy", value)).close()
        self._rt.cudaGetLastError()

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Launch an executable graph."""
        self.call("cudaGraphLaunch", graph.value, stream.value)


def _sold_as_gb(nbytes: int) -> int:
    """Memory in GiB, the next multiple of 4: what a system sets aside differs between its releases."""
    return 4 * -(-nbytes >> 32)


def _require_aligned(buffer: Handle) -> None:
    if buffer.value % ALIGNMENT:
        buffer.close()
        raise CudaError(f"CUDA returned memory that is not {ALIGNMENT}-byte aligned", call="cudaMalloc")


def _import() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendUnavailableError(
            f"CUDA bindings: not installed ({error}); pip install 'cuda-python>=12.9.1' "
            "(JetPack 6: 'cuda-python>=12.9.1,<13')"
        ) from error
    return runtime
