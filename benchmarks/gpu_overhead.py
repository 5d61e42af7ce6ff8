"""What `runtime(frame)` costs beyond the captured graph, in microseconds at the median."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from gpu_kernel import FRAME_SIZE, NET_SIZE, frames, kernel_runtime
from gpu_report import Answer, Figures, require
from gpu_runtime import median_us

__all__ = ["MAX_US", "check_overhead", "gate"]

MAX_US = 30.0
SMALL = (64, 96), (32, 48)
"""Frame and net so small that copying them costs next to nothing: the difference is the runtime's own."""
TURNS, ROUNDS = 10, 100


def check_overhead(answer: Answer) -> None:
    """`runtime(frame)` against the bare launch-and-wait of the graph, for both ways of waiting.

    On a small frame `overhead_us` is that very difference, copies and all. On a camera's frame the copies of
    the frame and of the outputs, which whoever uses the graph must make, are as large as the launch: there
    `overhead_us` is what comes beyond the launch, the wait and those copies, and `difference_us` the rest.
    """
    for wait in ("block", "spin"):
        figures: dict[str, Figures] = {}
        for size, measure in (("small", small), ("camera", camera)):
            figures[size] = measure(wait)
            answer.add(**{wait: figures, "limit_us": MAX_US})
    gate(answer.figures)


def gate(figures: Figures) -> None:
    """CheckError with every overhead that is above the limit, of both ways of waiting and both sizes."""
    over = [
        f"{wait}, {size} frame: {figures[wait][size]['overhead_us']:.1f} us"
        for wait in ("block", "spin")
        for size in ("small", "camera")
        if not figures[wait][size]["overhead_us"] <= MAX_US
    ]
    require(not over, f"overhead above {MAX_US:g} us: {'; '.join(over)}")


def small(wait: str) -> Figures:
    """The difference itself, where copies cost nothing."""
    medians = in_turns(wait, *SMALL)
    return {**medians, "overhead_us": medians["runtime_us"] - medians["launch_and_wait_us"]}


def camera(wait: str) -> Figures:
    """The same for a camera's frames: what goes beyond the launch, the wait and the copies."""
    medians = in_turns(wait, FRAME_SIZE, NET_SIZE)
    runtime_us = medians["runtime_us"]
    return {
        **medians,
        "difference_us": runtime_us - medians["launch_and_wait_us"],
        "overhead_us": runtime_us - medians["with_copies_us"],
    }


def in_turns(wait: str, frame_size: tuple[int, int], net_size: tuple[int, int]) -> dict[str, float]:
    """Median microseconds of each, in turns, so that a drifting clock speed touches all."""
    picture = frames(1, frame_size)[0]
    with kernel_runtime(wait=wait, frame_size=frame_size, net_size=net_size) as runtime:
        slot: Any = runtime._pipeline.pool.slots[0]  # type: ignore[union-attr]

        def launch_and_wait() -> None:
            slot.launch()
            slot.wait(None)

        def with_copies() -> None:
            slot.load(picture, True)
            launch_and_wait()
            slot.read()

        calls: dict[str, Callable[[], Any]] = {
            "launch_and_wait_us": launch_and_wait,
            "with_copies_us": with_copies,
            "runtime_us": lambda: runtime(picture),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, call in calls.items():
                times[name].append(median_us(call, ROUNDS))
    return {name: statistics.median(values) for name, values in times.items()}
