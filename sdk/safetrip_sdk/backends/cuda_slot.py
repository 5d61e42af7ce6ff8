"""Slots on a GPU: pinned memory, a stream, events and a captured graph around any program on the device.

The program is TensorRT's execution context in production, and a kernel compiled by NVRTC in
benchmarks/gpu_check.py: everything here is the same for both.
"""

from __future__ import annotations

import logging
import time
import timeit
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from safetrip_sdk.backends.base import (
    BackendOptions,
    ModelSpec,
    Outputs,
    StageTimes,
    TensorSpec,
    read_outputs,
    warm_up,
)
from safetrip_sdk.backends.polling import Polling
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError, ResultTimeoutError, SafetripError
from safetrip_sdk.handles import Handle, PinnedBuffer
from safetrip_sdk.termination import leave_behind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CudaBackend", "CudaContext", "CudaProgram", "CudaSlot"]

log = logging.getLogger(__name__)


class CudaContext(Protocol):
    """One slot's share of a program: tensors bound to addresses, work put on a stream."""

    def bind(self, name: str, pointer: int) -> None:
        """Use this device address for a tensor."""

    def enqueue(self, stream: int) -> None:
        """Put one run on the stream; raises when the device's library refuses."""

    def close(self) -> None:
        """Idempotent."""


class CudaProgram(Protocol):
    """What runs on the device: an engine, or a kernel."""

    name: str
    spec: ModelSpec

    def make_context(self) -> CudaContext:
        """A context of its own for a slot."""

    def close(self) -> None:
        """Idempotent; contexts are closed before."""


class CudaBackend:
    """A program on one GPU as a backend of the runtime.

    Args:
        cuda: the device.
        program: what runs; closed with the backend.
        options: `wait`.
        graphs: capture each slot's work in a CUDA graph (off only to measure what it brings).
    """

    overlaps = True

    def __init__(
        self, cuda: Cuda, program: CudaProgram, options: BackendOptions, graphs: bool = True
    ) -> None:
        self.cuda = cuda
        self.program = program
        self.name = program.name
        self.device = cuda.name
        self.spec = program.spec
        self._spin = options.wait == "spin"
        # In "block" mode only a wait without a timeout is left to the driver, which nobody can interrupt.
        self.bounded = options.wait != "block"
        self._graphs = graphs

    def make_slot(self) -> CudaSlot:
        """A slot, warmed up and captured. The first failure to capture is said; later slots do not try."""
        self.cuda.use()
        slot = CudaSlot(self.cuda, self.program, self._spin, self._graphs)
        if self._graphs and not slot.captured:
            self._graphs = False
        return slot

    def close(self) -> None:
        """Free the program."""
        _drop(self.cuda, self.program)


class CudaSlot:
    """One frame's place on the GPU; see `backends.base.Slot`.

    On a discrete GPU the frame is copied from pinned memory and the outputs into it. On an integrated one the
    device works in the mapped pinned memory itself, and of the two ways to read the outputs the cheaper,
    measured here, is taken.
    """

    def __init__(self, cuda: Cuda, program: CudaProgram, spin: bool, graphs: bool) -> None:
        self._cuda = cuda
        self._context = program.make_context()
        self._spec = spec = program.spec
        self._spin = spin
        self._graph: Handle | None = None
        self._launched_at = 0.0
        with ExitStack() as owned:
            owned.callback(_drop, cuda, self._context)
            self._stream = _owned(owned, cuda.stream())
            self._began, self._uploaded, self._computed = (_owned(owned, cuda.event()) for _ in range(3))
            self._ended = _owned(owned, cuda.event(blocking=True))
            self._host: dict[str, PinnedBuffer] = {}
            self._device: dict[str, int] = {}
            for tensor in (spec.frame, *spec.outputs):
                self._allocate(owned, tensor)
            self.frame: NDArray[np.uint8] = self._view(spec.frame)[0]
            self.frame.fill(0)
            self._arrays = {tensor.name: self._view(tensor) for tensor in spec.outputs}
            try:
                self._prepare(owned, program.name, graphs)
            except ResultTimeoutError:
                owned.pop_all()  # frees nothing: the device may still write
                raise
            self._copy_reads = cuda.integrated and self._copying_reads_faster()
            self._owned: ExitStack | None = owned.pop_all()

    def _prepare(self, owned: ExitStack, name: str, graphs: bool) -> None:
        """Warm up; once without capture: libraries allocate on their first run, which a capture forbids."""
        for capture in (False, graphs):
            if capture:
                self._graph = self._capture(owned)
            # Anew: the first run lasts as long as the library compiles what it launches.
            self._polling = Polling(self._cuda, self._began, self._ended, self._spin)
            warm_up(self, name)

    def _allocate(self, owned: ExitStack, tensor: TensorSpec) -> None:
        cuda = self._cuda
        host = _owned(owned, cuda.pinned(tensor.nbytes, mapped=cuda.integrated))
        self._host[tensor.name] = host
        if host.device_pointer is not None:
            pointer = host.device_pointer
        else:
            pointer = _owned(owned, cuda.malloc(tensor.nbytes)).value
        self._device[tensor.name] = pointer
        self._context.bind(tensor.name, pointer)

    def _view(self, tensor: TensorSpec) -> NDArray[Any]:
        return self._host[tensor.name].array.view(tensor.dtype).reshape(tensor.shape)

    def _enqueue(self, record: Any) -> None:
        """Upload, program, download, with the events between them."""
        cuda, stream = self._cuda, self._stream
        frame = self._spec.frame
        if not cuda.integrated:
            cuda.upload(self._device[frame.name], self._host[frame.name].value, frame.nbytes, stream)
        record(self._uploaded, stream)
        self._context.enqueue(int(stream.value))
        record(self._computed, stream)
        if not cuda.integrated:
            for tensor in self._spec.outputs:
                target = self._host[tensor.name].value
                cuda.download(target, self._device[tensor.name], tensor.nbytes, stream)

    def _capture(self, owned: ExitStack) -> Handle | None:
        try:
            graph = self._cuda.capture(self._stream, lambda: self._enqueue(self._cuda.record_external))
        except SafetripError as error:
            if isinstance(error, CudaError) and error.sticky:
                raise
            log.warning("no CUDA graph, each frame is enqueued piece by piece: %s", error)
            return None
        owned.callback(graph.close)
        return graph

    @property
    def captured(self) -> bool:
        """True when one graph launch does it all."""
        return self._graph is not None

    def _copying_reads_faster(self) -> bool:
        """Whether cudaMemcpy out of mapped memory beats the CPU's own (maybe uncached) reads of it."""
        direct = min(timeit.repeat(self._read_direct, number=1, repeat=3))
        try:
            copied = min(timeit.repeat(self._read_copied, number=1, repeat=3))
        except CudaError as error:
            if error.sticky:
                raise
            log.info("reading outputs in place: cudaMemcpy refuses mapped memory: %s", error)
            return False
        log.info("reading outputs: %.3f ms in place, %.3f ms by cudaMemcpy", direct * 1e3, copied * 1e3)
        return copied < direct

    def load(self, frame: NDArray[np.uint8], borrow: bool) -> None:
        """Copy the frame into pinned memory, unless it was captured there, or will be."""
        self._cuda.check()  # memory that a reset took along is no longer mapped
        if frame is not self.frame:
            np.copyto(self.frame, frame)

    def launch(self) -> None:
        """One graph launch, or the same work piece by piece."""
        cuda = self._cuda
        cuda.use()
        self._launched_at = time.perf_counter()
        cuda.record(self._began, self._stream)
        if self._graph is not None:
            cuda.launch(self._graph, self._stream)
        else:
            self._enqueue(cuda.record)
        cuda.record(self._ended, self._stream)

    def wait(self, timeout: float | None) -> bool:
        """Blocking: the driver wakes the thread. Spinning, or with a timeout: the event is polled."""
        if timeout is None and not self._spin:
            self._cuda.wait(self._ended)
            return True
        return self._polling.wait(self._launched_at, timeout)

    def read(self) -> Outputs:
        """The outputs in fresh arrays."""
        return self._read_copied() if self._copy_reads else self._read_direct()

    def _read_direct(self) -> Outputs:
        self._cuda.check()
        return read_outputs(self._arrays)

    def _read_copied(self) -> Outputs:
        self._cuda.use()
        arrays = {}
        for tensor in self._spec.outputs:
            arrays[tensor.name] = np.empty(tensor.shape[1:], tensor.dtype)
            self._cuda.copy_out(arrays[tensor.name], self._device[tensor.name], self._stream)
        return Outputs(arrays["labels"], arrays["depth"], arrays.get("confidence"))

    def times(self) -> StageTimes:
        """From the events on the stream."""
        elapsed = self._cuda.elapsed
        marks = (self._began, self._uploaded, self._computed, self._ended)
        return StageTimes(*(max(elapsed(first, second) or 0.0, 0.0) for first, second in pairwise(marks)))

    def stage(self) -> str:
        """Which event of this run was not reached (one yet to be recorded is older than its neighbour)."""
        cuda = self._cuda
        try:
            if cuda.reached(self._ended):
                return "deliver"
            if not cuda.reached(self._began):
                return "queued"
            for name, before, after in (
                ("upload", self._began, self._uploaded),
                ("compute", self._uploaded, self._computed),
            ):
                elapsed = cuda.elapsed(before, after)
                if elapsed is None or elapsed < 0:
                    return name
        except CudaError:
            return "compute"
        return "download"

    def close(self) -> None:
        """Wait for the stream (it may still write), then free everything, once."""
        owned, self._owned = self._owned, None
        if owned is None:
            return
        try:
            self._cuda.use()
            self._cuda.synchronize(self._stream)
        except CudaError as error:
            log.debug("while closing a slot: %s", error)
        owned.close()


def _drop(cuda: Cuda, thing: CudaProgram | CudaContext) -> None:
    """Close what a library made on the device; after a reset its destructors would free what is others'."""
    if cuda.lost:
        leave_behind(thing)
    else:
        thing.close()


def _owned(stack: ExitStack, resource: Any) -> Any:
    """Have `stack` close the resource."""
    stack.callback(resource.close)
    return resource
