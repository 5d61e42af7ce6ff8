"""One check in a process of its own: a crash, a hang or a broken GPU context takes no other check along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpu_report import Figures

__all__ = ["DEATH_S", "EXIT_S", "run_apart"]

POLL_S = 0.2
EXIT_S = 30.0
"""For a process that has answered to end: teardown is checked, too, a driver can hang there."""
DEATH_S = 5.0


def run_apart(command: list[str], limit: float, tell: Callable[[Figures], None]) -> Figures:
    """Run `command --json FILE` and give what it left in FILE, judged by how the process ended.

    Args:
        command: a program that keeps an `Answer`.
        limit: seconds until it is ended.
        tell: called with what the file holds, each time that it has changed.

    Returns:
        The answer. A process that crashed or did not end is FAILED, whatever it answered before, its figures
        kept; `timed_out` is True where the limit ended it, `output` is the end of what it printed.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, "--json", str(answer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                timed_out = follow(child, answer, limit, tell)
                code = child.returncode
            finally:
                died = stop(child)
        result = judge(read(answer), how_it_ended(code, timed_out, died))
        if timed_out is not None:
            result["timed_out"] = True
        said = log.read_text(errors="replace")[-4000:]
        if said and result["status"] != "ok":
            result["output"] = said
    return result


def follow(
    child: subprocess.Popen[bytes], answer: Path, limit: float, tell: Callable[[Figures], None]
) -> str | None:
    """Wait for the process and pass on what it writes; the time that it was given, where that ran out."""
    now = time.monotonic()
    deadline, given = now + limit, f"no end within {limit:.0f} s"
    told: Figures = {}
    while child.poll() is None:
        figures = read(answer)
        if figures != told:
            told = figures
            tell(figures)
            now = time.monotonic()
            if figures["status"] != "unfinished" and now + EXIT_S < deadline:
                deadline, given = now + EXIT_S, f"no end within {EXIT_S:.0f} s of it"
        if time.monotonic() >= deadline:
            return given
        time.sleep(POLL_S)
    return None


def read(answer: Path) -> Figures:
    """The answer so far; empty while there is none."""
    try:
        figures: Figures = json.loads(answer.read_text())
    except FileNotFoundError:
        return {}
    return figures


def stop(child: subprocess.Popen[bytes]) -> bool:
    """End the process and those it started; False for one that the driver holds, which is left behind."""
    try:
        os.killpg(child.pid, signal.SIGKILL)  # it leads a group of its own, see gpu_check
    except (ProcessLookupError, PermissionError):
        child.kill()
    try:
        child.wait(DEATH_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def how_it_ended(code: int | None, timed_out: str | None, died: bool) -> str:
    """In words; empty for a process that ended as it should."""
    if timed_out is not None:
        return timed_out if died else f"{timed_out}, and it cannot be ended"
    return f"ended with status {code} (a negative one is a signal's number)" if code else ""


def judge(figures: Figures, end: str) -> Figures:
    """What was answered and how the process ended, as one verdict."""
    status = figures.get("status", "unfinished")
    if status == "unfinished":
        return {**figures, "status": "FAILED", "error": end or "ended without an answer"}
    if not end:
        return figures
    said = f"{status}: {figures['error']}" if "error" in figures else status
    return {**figures, "status": "FAILED", "error": f"answered {said}; then: {end}"}
