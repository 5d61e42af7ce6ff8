"""What the runtime does on this GPU when a kernel hangs or breaks the context: one function a check."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_kernel import CLASSES, FRAME_SIZE, NET_SIZE, KernelProgram, assert_equal, frames, kernel_runtime
from gpu_report import Answer, CheckError, require
from safetrip_sdk import Runtime
from safetrip_sdk.backends.base import BackendOptions
from safetrip_sdk.backends.cuda_slot import CudaBackend
from safetrip_sdk.cuda import Cuda
from safetrip_sdk.errors import CudaError, ResultTimeoutError, SafetripError

__all__ = ["FAULTS"]


def held_flag() -> tuple[Any, Any]:
    """An int that the GPU sees, as (its pinned memory, its array): the kernel hangs while it is not 0."""
    hold = Cuda().pinned(4, mapped=True)
    flag = hold.array.view(np.int32)
    flag[0] = 0
    return hold, flag


def check_watchdog(answer: Answer) -> None:
    """A kernel that does not end: time-outs name the stage, the watchdog ends the wait, reopen() works."""
    hold, flag = held_flag()
    runtime = kernel_runtime(hold=hold.device_pointer, hang_after=1.0)
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    flag[0] = 1
    seen: dict[str, str] = {}
    calls: dict[str, Callable[[], Any]] = {
        "timeout": lambda: runtime(picture, timeout=0.05),
        "watchdog": lambda: runtime.submit(picture).result(10),
    }
    try:
        for name, call in calls.items():
            try:
                call()
            except ResultTimeoutError as error:
                seen[name] = error.stage
        usable = runtime.usable
    finally:
        flag[0] = 0
    answer.add(**seen)
    require(seen == {"timeout": "compute", "watchdog": "compute"}, f"stages of the time-outs: {seen}")
    require(not usable, "the runtime still calls itself usable")
    time.sleep(0.2)
    runtime.reopen()
    assert_equal(runtime(picture), picture)
    runtime.close()
    hold.close()


def check_left_behind(answer: Answer) -> None:
    """While one kernel hangs: does reopen() return, and does a runtime beside it work?"""
    hold, flag = held_flag()
    holds = [hold.device_pointer]

    def opener(frame_size: tuple[int, int]) -> CudaBackend:
        own = Cuda()
        program = KernelProgram(
            own.compute_capability, frame_size, NET_SIZE, hold=holds.pop() if holds else 0
        )
        return CudaBackend(own, program, BackendOptions(frame_size))

    runtime = Runtime.over(opener, CLASSES, frame_size=FRAME_SIZE, slots=1, hang_after=1.0)
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    flag[0] = 1
    refused: list[str] = []

    def reopen() -> None:
        try:
            runtime.reopen()
        except SafetripError as error:
            refused.append(f"{type(error).__name__}: {error}")

    reopening = threading.Thread(target=reopen, daemon=True)
    try:
        try:
            runtime.submit(picture).result(10)
        except ResultTimeoutError as error:
            answer.add(stage=error.stage)
        require("stage" in answer.figures, "nobody noticed the hang")
        started = time.perf_counter()
        reopening.start()
        reopening.join(20)
        answer.add(reopen_s=time.perf_counter() - started, refused=refused)
        works = not reopening.is_alive() and runtime.usable
        answer.add(works_beside_a_hang=works)
        if works:
            assert_equal(runtime.submit(picture).result(10), picture)
    finally:
        flag[0] = 0
    reopening.join(20)
    runtime.close()


def check_sticky(answer: Answer) -> None:
    """An illegal address: a typed, sticky error; then whether reopen() recovers, or says that it cannot.

    CUDA promises no recovery within the process ("must be terminated and relaunched"): a typed refusal is a
    right answer too, and the report says which it was.
    """
    runtime = kernel_runtime()
    picture = frames(1)[0]
    assert_equal(runtime(picture), picture)
    break_context(runtime)
    caught = None
    for _ in range(3):
        try:
            runtime(picture)
        except CudaError as error:
            caught = error
            break
    if caught is None:
        raise CheckError("the illegal address went unnoticed")
    answer.add(said=str(caught), sticky=caught.sticky)
    require(caught.sticky, "an illegal address is not called sticky")
    require(not runtime.usable, "the runtime still calls itself usable")
    try:
        runtime.reopen()
        recovered = runtime(picture)
    except SafetripError as error:
        answer.add(recovers=False, reopen=f"{type(error).__name__}: {error}")
    else:
        assert_equal(recovered, picture)
        answer.add(recovers=True)
    runtime.close()


def break_context(runtime: Runtime) -> None:
    """Run a kernel that writes to an illegal address, on a slot's own stream and tensors."""
    pipeline: Any = runtime._pipeline
    bad = KernelProgram(pipeline.backend.cuda.compute_capability, FRAME_SIZE, NET_SIZE, crash=True)
    context = bad.make_context()
    slot = pipeline.pool.slots[0]
    for name, pointer in slot._device.items():
        context.bind(name, pointer)
    context.enqueue(int(slot._stream.value))


FAULTS: dict[str, Callable[[Answer], None]] = {
    "watchdog": check_watchdog,
    "left_behind": check_left_behind,
    "sticky": check_sticky,
}
