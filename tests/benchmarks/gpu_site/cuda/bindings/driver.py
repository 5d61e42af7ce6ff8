"""The CUDA driver as far as the GPU check uses it: its kernel, computed by numpy; hangs and crashes, too."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import numpy as np
from cuda.bindings import runtime
from tests.sdk.fake_gpu import Code, view

ILLEGAL_ADDRESS = Code.cudaErrorIllegalAddress
_words: dict[int, np.ndarray] = {}
_numbers = itertools.count(1)


def cuModuleLoadData(image: int) -> Any:
    return 0, next(_numbers)


def cuModuleGetFunction(module: int, name: bytes) -> Any:
    assert name == b"predict"
    return 0, module


def cuMemAlloc(nbytes: int) -> Any:
    memory = np.ones(1, np.int32)
    _words[memory.ctypes.data] = memory
    return 0, memory.ctypes.data


def cuMemsetD32(pointer: int, value: int, count: int) -> Any:
    _words[pointer][:] = value
    return (0,)


def cuMemFree(pointer: int) -> Any:
    del _words[pointer]
    return (0,)


def cuModuleUnload(module: int) -> Any:
    return (0,)


def cuLaunchKernel(function: int, *launch: Any) -> Any:
    stream, (values, _) = launch[7], launch[8]
    runtime.submit(runtime.stream_of(stream), "compute", lambda: _predict(*values))
    return (0,)


def _predict(
    frame: int,
    labels: int,
    depth: int,
    confidence: int,
    height: int,
    width: int,
    h: int,
    w: int,
    spin: int,
    hold: int,
    crash: int,
) -> None:
    from gpu_kernel import expected

    if crash:
        runtime.broken = int(ILLEGAL_ADDRESS)
        return
    flag = view(hold, (1,), np.int32)
    if flag[0]:
        runtime.hang = "compute"
        threading.Thread(target=_release, args=(flag,), daemon=True).start()
        return
    found = expected(view(frame, (height, width, 3), np.uint8), (h, w))
    view(labels, (h, w), np.uint8)[:] = found.labels
    view(depth, (h, w), np.float32)[:] = found.depth
    view(confidence, (h, w), np.uint8)[:] = found.confidence


def _release(flag: np.ndarray) -> None:
    """The host lets the kernel go on: what waits for the device wakes, and new work runs."""
    while flag[0]:
        time.sleep(0.01)
    runtime.hang = None
    runtime.gate.set()
