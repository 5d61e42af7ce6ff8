"""What verbs print at their end."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from safetrip_sdk.runtime import Runtime
from safetrip_sdk.sources.base import SourceStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetrip_sdk.outputs.threaded import ThreadedOutput
    from safetrip_sdk.recording.check import Comparison

__all__ = ["paint", "print_comparison", "print_statistics", "statistics"]

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "bold": 1, "dim": 2}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in a colour, on a terminal that wants colours (https://no-color.org); else as it is."""
    target = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def statistics(
    runtime: Runtime, source: SourceStats, outputs: Sequence[ThreadedOutput] = ()
) -> dict[str, Any]:
    """The run in figures, JSON-able."""
    backend = runtime.backend
    return {
        "backend": backend.name if backend else None,
        "device": backend.device if backend else None,
        "precision": runtime.precision,
        "runtime": runtime.stats().to_dict(),
        "source": vars(source),
        "outputs": {
            item.name: {
                "written": item.written,
                "too_slow": item.dropped,
                "left_out_for_share": item.spared,
                "processor_ms_per_frame": round(1e3 * item.seconds / max(item.written, 1), 3),
            }
            for item in outputs
        },
    }


def print_statistics(runtime: Runtime, source: SourceStats) -> None:
    """Frames, rate, stages and the camera's losses, on standard error."""
    stats, backend = runtime.stats(), runtime.backend
    where = f"{backend.name} on {backend.device}" if backend else "no frame"
    print(
        f"{stats.frames} frames, {stats.dropped} dropped, {stats.errors} failed; "
        f"{stats.fps:.1f} frames/s on {where}",
        file=sys.stderr,
    )
    for stage, item in stats.stages.items():
        figures = f"p50 {item.p50:8.2f}  p95 {item.p95:8.2f}  p99 {item.p99:8.2f}  max {item.max:8.2f}"
        print(f"  {stage:9s} ms  {figures}", file=sys.stderr)
    if source.reconnects or source.stalls or source.damaged or source.last_error:
        text = (
            f"the camera was lost and opened again {source.reconnects} times ({source.stalls} of them it had "
            f"hung), {source.damaged} frames could not be decoded; last: {source.last_error or 'nothing'}"
        )
        print(paint(text, "yellow", sys.stderr), file=sys.stderr)


def print_outputs(outputs: Sequence[ThreadedOutput]) -> None:
    """What each output wrote, what it left out and why, on standard error."""
    for item in outputs:
        cost = f", {1e3 * item.seconds / item.written:.1f} ms of processor time each" if item.written else ""
        print(f"  {item.name}: {item.written} frames{cost}", file=sys.stderr)
        if item.dropped:
            text = f"  {item.name}: {item.dropped} frames left out, it was too slow for them"
            print(paint(text, "yellow", sys.stderr), file=sys.stderr)
        if item.spared:
            text = (
                f"  {item.name}: {item.spared} frames left out so that the inference keeps the processor "
                "(--output-share 0 lifts that)"
            )
            print(text, file=sys.stderr)


def print_comparison(comparison: Comparison) -> None:
    """The verdict of --check, and the first frames that failed, on standard error."""
    for line in comparison.changed:
        print(f"not as recorded: {line}", file=sys.stderr)
    how = "bit by bit" if comparison.exact else f"labels agree on {comparison.least:.2%} of each frame"
    if comparison.missing:
        print(f"{comparison.missing} frames have no recorded result", file=sys.stderr)
    for item in comparison.failed[:10]:
        print(
            f"  {item.origin}: labels agree on {item.agreement:.4%}, depth is off by "
            f"{item.depth_mean:.4f} m (mean), {item.depth_max:.4f} m (most)",
            file=sys.stderr,
        )
    verdict, colour = ("same", "green") if comparison.ok else ("DIFFERENT", "red")
    print(
        f"{paint(verdict, colour, sys.stderr)}: {len(comparison.failed)} of {comparison.frames} frames "
        f"failed ({how}); mean agreement {comparison.agreement:.4%}",
        file=sys.stderr,
    )
