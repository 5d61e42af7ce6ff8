"""A kernel compiled by NVRTC behind the runtime's CudaProgram protocol, in place of a TensorRT engine.

It lets everything but TensorRT itself run on any NVIDIA GPU: slots, pinned and mapped memory, graph, events,
watchdog, recovery. Its answer is simple enough to be checked bit by bit against numpy.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk import Runtime
from safetrip_sdk.backends.base import BackendOptions, ModelSpec, Outputs, TensorSpec
from safetrip_sdk.backends.cuda_slot import CudaBackend
from safetrip_sdk.cuda import Cuda

__all__ = [
    "CLASSES",
    "FRAME_SIZE",
    "NET_SIZE",
    "KernelProgram",
    "assert_equal",
    "expected",
    "frames",
    "kernel_runtime",
]

FRAME_SIZE = (1080, 1920)
NET_SIZE = (512, 512)
CLASSES = ("blue", "green", "red")

SOURCE = r"""
extern "C" __global__ void predict(const unsigned char* frame, unsigned char* labels, float* depth,
                                   unsigned char* confidence, int H, int W, int h, int w,
                                   long long spin, volatile int* hold, int crash) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (crash && x == 0 && y == 0) *(volatile int*)0x10 = 1;
    // Spin for a while (a net that takes its time), or until the host lets go (a net that hangs).
    long long start = clock64();
    while (clock64() - start < spin) { }
    if (x == 0 && y == 0) while (*hold) { }
    if (x >= w || y >= h) return;
    const unsigned char* p = frame + ((long long)(y * (long long)H / h) * W + x * (long long)W / w) * 3;
    int best = 0;
    for (int c = 1; c < 3; ++c) if (p[c] > p[best]) best = c;
    labels[y * w + x] = best;
    confidence[y * w + x] = p[best];
    depth[y * w + x] = (float)(p[0] + p[1] + p[2]) * 0.125f;
}
"""


def expected(frame: NDArray[np.uint8], size: tuple[int, int]) -> Outputs:
    """What the kernel computes, in numpy."""
    rows = np.arange(size[0]) * frame.shape[0] // size[0]
    columns = np.arange(size[1]) * frame.shape[1] // size[1]
    pixels = frame[rows][:, columns]
    depth = pixels.sum(-1, dtype=np.int32).astype(np.float32) * np.float32(0.125)
    return Outputs(pixels.argmax(-1).astype(np.uint8), depth, pixels.max(-1))


def check(result: tuple[Any, ...]) -> Any:
    """The results of a driver or NVRTC call; RuntimeError with the call's code."""
    code, *values = result
    if int(code) != 0:
        raise RuntimeError(f"{type(code).__name__}: {code!r}")
    return values[0] if len(values) == 1 else tuple(values)


class KernelProgram:
    """The kernel as a program of the runtime.

    Args:
        capability: compute capability of the device, (major, minor).
        frame_size: (H, W).
        net_size: (h, w).
        spin: clock cycles each thread burns.
        hold: device address of an int that the kernel waits for to become 0; 0: a zero of its own.
        crash: write to an illegal address.
    """

    name = "nvrtc"

    def __init__(
        self,
        capability: tuple[int, int],
        frame_size: tuple[int, int],
        net_size: tuple[int, int] = (512, 512),
        spin: int = 0,
        hold: int = 0,
        crash: bool = False,
    ) -> None:
        from cuda.bindings import driver, nvrtc

        self._driver = driver
        net = (1, *net_size)
        self.spec = ModelSpec(
            TensorSpec("frame", (1, *frame_size, 3), np.dtype(np.uint8)),
            TensorSpec("labels", net, np.dtype(np.uint8)),
            TensorSpec("depth", net, np.dtype(np.float32)),
            TensorSpec("confidence", net, np.dtype(np.uint8)),
        )
        program = check(nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"predict.cu", 0, [], []))
        option = f"--gpu-architecture=sm_{capability[0]}{capability[1]}".encode()
        compiled = nvrtc.nvrtcCompileProgram(program, 1, [option])
        if int(compiled[0]) != 0:
            said = b" " * check(nvrtc.nvrtcGetProgramLogSize(program))
            check(nvrtc.nvrtcGetProgramLog(program, said))
            raise RuntimeError(f"{compiled[0]!r} for {option.decode()}: {said.decode(errors='replace')}")
        cubin = b" " * check(nvrtc.nvrtcGetCUBINSize(program))
        check(nvrtc.nvrtcGetCUBIN(program, cubin))
        image = np.frombuffer(cubin, np.uint8)  # has a name, so that it lives until it is loaded
        self._module = check(driver.cuModuleLoadData(image.ctypes.data))
        self._function = check(driver.cuModuleGetFunction(self._module, b"predict"))
        self._zero = 0
        if not hold:
            self._zero = int(check(driver.cuMemAlloc(4)))
            check(driver.cuMemsetD32(self._zero, 0, 1))
        self._tail = (spin, hold or self._zero, int(crash))

    def make_context(self) -> KernelContext:
        return KernelContext(self._driver, self._function, self.spec, self._tail)

    def close(self) -> None:
        if self._module is not None:
            if self._zero:
                self._driver.cuMemFree(self._zero)
            self._driver.cuModuleUnload(self._module)
            self._module = None


class KernelContext:
    """One slot's arguments."""

    def __init__(self, driver: Any, function: Any, spec: ModelSpec, tail: tuple[int, int, int]) -> None:
        self._driver = driver
        self._function = function
        self._spec = spec
        self._tail = tail
        self._addresses: dict[str, int] = {}

    def bind(self, name: str, pointer: int) -> None:
        self._addresses[name] = pointer

    def enqueue(self, stream: int) -> None:
        height, width = self._spec.frame.shape[1:3]
        h, w = self._spec.labels.shape[1:]
        tensors = [self._addresses[name] for name in ("frame", "labels", "depth", "confidence")]
        values = (*tensors, height, width, h, w, *self._tail)
        kinds = [ctypes.c_void_p] * 4 + [ctypes.c_int] * 4
        kinds += [ctypes.c_longlong, ctypes.c_void_p, ctypes.c_int]
        grid = ((w + 31) // 32, (h + 7) // 8, 1)
        arguments = (values, tuple(kinds))
        check(self._driver.cuLaunchKernel(self._function, *grid, 32, 8, 1, 0, stream, arguments, 0))

    def close(self) -> None:
        self._addresses.clear()


def frames(count: int = 4, size: tuple[int, int] = FRAME_SIZE) -> list[NDArray[np.uint8]]:
    """Noise, (H, W, 3) each."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def kernel_runtime(
    wait: str = "block",
    slots: int = 2,
    graphs: bool = True,
    mapped: bool | None = None,
    hang_after: float = 10.0,
    frame_size: tuple[int, int] = FRAME_SIZE,
    net_size: tuple[int, int] = NET_SIZE,
    **kernel: Any,
) -> Runtime:
    """A runtime over the kernel; `mapped` treats this GPU as an integrated one, or as a discrete one."""

    def opener(frame_size: tuple[int, int]) -> CudaBackend:
        cuda = Cuda()
        if mapped is not None:
            cuda.integrated = mapped
        program = KernelProgram(cuda.compute_capability, frame_size, net_size, **kernel)
        return CudaBackend(cuda, program, BackendOptions(frame_size, wait=wait), graphs)

    return Runtime.over(opener, CLASSES, frame_size=frame_size, slots=slots, wait=wait, hang_after=hang_after)


def assert_equal(prediction: Any, frame: NDArray[np.uint8]) -> None:
    """A prediction at NET_SIZE against `expected`, bit by bit."""
    reference = expected(frame, NET_SIZE)
    np.testing.assert_array_equal(prediction.labels, reference.labels)
    np.testing.assert_array_equal(prediction.depth, reference.depth)
    np.testing.assert_array_equal(prediction.confidence, reference.confidence)
