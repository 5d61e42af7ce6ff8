"""What the slots of the CPU backends have in common: memory of their own, and a frame used where it lies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.backends.base import ModelSpec, Outputs, StageTimes, aligned_empty, read_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CpuSlot"]


class CpuSlot(ABC):
    """Input and output memory of one frame in flight; see `backends.base.Slot`.

    A subclass binds input and outputs in its library, launches and waits, and writes `_times`.

    Args:
        spec: the model's tensors.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        own = aligned_empty(spec.frame.shape, spec.frame.dtype)
        own.fill(0)
        self.frame: NDArray[np.uint8] = own[0]
        self._arrays = {item.name: aligned_empty(item.shape, item.dtype) for item in spec.outputs}
        self._bound: NDArray[np.uint8] | None = None
        self._times = StageTimes(0.0, 0.0, 0.0)

    @abstractmethod
    def _bind(self, frame: NDArray[np.uint8]) -> None:
        """Have the library read its input from this (H, W, 3) array, which stays as long as it is bound."""

    def _use(self, frame: NDArray[np.uint8]) -> None:
        if frame is not self._bound:
            self._bind(frame)
            self._bound = frame

    def load(self, frame: NDArray[np.uint8], borrow: bool) -> None:
        """Bind a contiguous frame in place (`borrow`), or copy it into the slot's own memory."""
        # Binding costs some microseconds, copying a 1080p frame most of a millisecond; OpenVINO binds nothing
        # that it could not write to.
        if borrow and frame.flags.c_contiguous and frame.flags.writeable:
            self._use(frame)
            return
        self._use(self.frame)
        if frame is not self.frame:
            np.copyto(self.frame, frame)

    def read(self) -> Outputs:
        """Copies of the outputs."""
        return read_outputs(self._arrays)

    def times(self) -> StageTimes:
        """Compute only: nothing is uploaded or downloaded."""
        return self._times
