"""CUDA's resources in Python: each frees itself once."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import CudaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Handle", "PinnedBuffer"]

log = logging.getLogger(__name__)


class Handle:
    """A CUDA resource; `close` frees it once, however often it is called and whatever CUDA answers."""

    __slots__ = ("_free", "value")

    def __init__(self, value: Any, free: Callable[[Any], None]) -> None:
        self.value = value
        self._free: Callable[[Any], None] | None = free

    def close(self) -> None:
        """Free the resource; idempotent. An error is logged: there is nothing a caller could do."""
        free, self._free = self._free, None
        if free is None:
            return
        try:
            free(self.value)
        except CudaError as error:
            log.debug("while freeing: %s", error)


class PinnedBuffer(Handle):
    """Page-locked host memory: `array` (uint8) for the CPU; `device_pointer` where it is mapped."""

    __slots__ = ("array", "device_pointer")

    def __init__(
        self, pointer: int, nbytes: int, device_pointer: int | None, free: Callable[[Any], None]
    ) -> None:
        super().__init__(pointer, free)
        self.device_pointer = device_pointer
        memory: Any = (ctypes.c_uint8 * nbytes).from_address(pointer)
        self.array: NDArray[np.uint8] = np.frombuffer(memory, dtype=np.uint8)
