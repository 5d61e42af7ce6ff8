"""What every backend is to the runtime: a compiled model that hands out slots.

A slot is one place for a frame in flight: its input memory, its output memory and whatever the backend needs
to run it apart from the others. The runtime never sees more than this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from safetrip_sdk.errors import BackendUnavailableError, ResultTimeoutError
from safetrip_sdk.termination import leave_behind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Backend",
    "BackendOptions",
    "CpuOptions",
    "ModelSpec",
    "Outputs",
    "Slot",
    "StageTimes",
    "TensorSpec",
    "aligned_empty",
    "model_spec",
    "read_outputs",
    "warm_up",
]

ALIGNMENT = 256
"""Bytes; what TensorRT asks of tensor addresses, and more than any CPU's vector load wants."""

WARM_UP_S = 60.0
"""A first run takes longer than any later one; what takes so long hangs. What is built or compiled before the
device has something to do is not counted."""


class TensorSpec(NamedTuple):
    """One tensor of the deploy graph: static shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


class ModelSpec(NamedTuple):
    """The deploy graph's tensors: frame (1, H, W, 3); labels, depth and confidence (1, h, w)."""

    frame: TensorSpec
    labels: TensorSpec
    depth: TensorSpec
    confidence: TensorSpec | None

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        rest = (self.confidence,) if self.confidence else ()
        return (self.labels, self.depth, *rest)


class StageTimes(NamedTuple):
    """Milliseconds of the last run of a slot, as the backend measured them."""

    upload: float
    compute: float
    download: float


class Outputs(NamedTuple):
    """labels (h, w) uint8, depth (h, w) float32 metres, confidence (h, w) uint8 or None."""

    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    confidence: NDArray[np.uint8] | None


@dataclass(frozen=True)
class CpuOptions:
    """Options of the CPU backends.

    Attributes:
        threads: threads that compute one frame; None: one for each core this process may use.
        bf16: compute in bfloat16 where the processor has it (OpenVINO on AVX512-BF16 or AMX): faster, with
            8 bits of mantissa. Off by default, so that a precision means what its name says.
    """

    threads: int | None = None
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"CpuOptions.threads: want 1 or more, not {self.threads}")


@dataclass(frozen=True)
class BackendOptions:
    """How a backend is opened.

    Attributes:
        frame_size: (H, W) of the frames.
        precision: for messages and for the backend's name in figures.
        wait: `"block"` (free the core while the device works), `"poll"` (the same, but looked after every
            50 us: a hang can be ended) or `"spin"` (least latency).
        device: index of the GPU.
        cpu: options of the CPU backends.
    """

    frame_size: tuple[int, int]
    precision: str = "fp32"
    wait: str = "block"
    device: int = 0
    cpu: CpuOptions = field(default_factory=CpuOptions)


class Slot(Protocol):
    """One frame's place. `frame`, (H, W, 3) uint8, is its input memory and lives until `close`.

    A slot is used by one thread at a time; different slots may be used by different threads.
    """

    frame: NDArray[np.uint8]

    def load(self, frame: NDArray[np.uint8], borrow: bool) -> None:
        """Take the frame: copied, or with `borrow` used in place where the backend can."""

    def launch(self) -> None:
        """Start upload, compute and download; return without waiting."""

    def wait(self, timeout: float | None) -> bool:
        """Until the outputs are there (True) or `timeout` seconds are over (False)."""

    def read(self) -> Outputs:
        """The outputs of the run that ended last, in arrays that are the caller's to keep."""

    def times(self) -> StageTimes:
        """Of the run that ended last."""

    def stage(self) -> str:
        """Where a run that does not end is: queued, upload, compute, download or deliver."""

    def close(self) -> None:
        """Free everything; idempotent."""


class Backend(Protocol):
    """A model compiled for one frame size on one device."""

    name: str
    device: str
    spec: ModelSpec
    overlaps: bool
    """True when slots run side by side (a GPU's copy engines); False when one run after another."""
    bounded: bool
    """True when a slot's `wait` with a timeout costs no more than without."""

    def make_slot(self) -> Slot:
        """A fresh slot, warmed up (see `warm_up`)."""

    def close(self) -> None:
        """Free the model; slots are closed before. Idempotent."""


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised C-contiguous array whose data starts at a multiple of 256 bytes."""
    nbytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + nbytes].view(dtype).reshape(shape)


def model_spec(
    inputs: Mapping[str, tuple[Sequence[int], np.dtype[Any]]],
    outputs: Mapping[str, tuple[Sequence[int], np.dtype[Any]]],
) -> ModelSpec:
    """The deploy graph's tensors out of what a backend found in a model.

    Raises:
        BackendUnavailableError: the model is no deploy graph (one frame in; labels and depth out).
    """
    if len(inputs) != 1:
        raise BackendUnavailableError(f"no deploy graph: want one input, it has {sorted(inputs)}")
    name, (shape, dtype) = next(iter(inputs.items()))
    frame = TensorSpec(name, tuple(int(side) for side in shape), dtype)
    if len(frame.shape) != 4 or frame.shape[0] != 1 or frame.shape[3] != 3 or dtype != np.uint8:
        raise BackendUnavailableError(
            f"no deploy graph: input {name} is {frame.shape} {dtype}, want (1, H, W, 3) uint8; "
            "export the model with `trainer export`"
        )
    found: dict[str, TensorSpec | None] = {"confidence": None}
    for output, wanted in (("labels", np.uint8), ("depth", np.float32), ("confidence", np.uint8)):
        if output not in outputs:
            if output == "confidence":
                continue
            raise BackendUnavailableError(f"no deploy graph: no output {output!r} among {sorted(outputs)}")
        shape, dtype = outputs[output]
        spec = TensorSpec(output, tuple(int(side) for side in shape), dtype)
        if len(spec.shape) != 3 or spec.shape[0] != 1 or dtype != wanted:
            raise BackendUnavailableError(
                f"no deploy graph: output {output} is {spec.shape} {dtype}, want (1, h, w) {np.dtype(wanted)}"
            )
        found[output] = spec
    labels, depth = found["labels"], found["depth"]
    assert labels is not None
    assert depth is not None
    sizes = {spec.shape for spec in found.values() if spec is not None}
    if len(sizes) != 1:
        raise BackendUnavailableError(f"no deploy graph: outputs of different sizes {sorted(sizes)}")
    return ModelSpec(frame, labels, depth, found["confidence"])


def read_outputs(arrays: Mapping[str, NDArray[Any]]) -> Outputs:
    """Copies of a slot's (1, h, w) output arrays, by the outputs' names."""
    confidence = arrays.get("confidence")
    return Outputs(
        arrays["labels"][0].copy(),
        arrays["depth"][0].copy(),
        None if confidence is None else confidence[0].copy(),
    )


def warm_up(slot: Slot, name: str) -> None:
    """Run a fresh slot once, on what is in its memory.

    Raises:
        ResultTimeoutError: it hangs, and is left behind: neither it nor its backend may be destroyed.
    """
    slot.launch()
    if slot.wait(WARM_UP_S):
        return
    leave_behind(slot)
    stage = slot.stage()
    raise ResultTimeoutError(
        f"{name}: the first run hangs in stage {stage} for more than {WARM_UP_S:g} s; reopen() the runtime, "
        "or, where the device still hangs then, start the process anew",
        stage=stage,
        recoverable=False,
    )
