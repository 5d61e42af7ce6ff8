"""A check of the GPU in a process of its own: crashes and hangs, before its answer and after it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.gpu_bench import ends, gpu_apart

ANSWERS = "import json, sys; file = open(sys.argv[2], 'w'); json.dump({}, file); file.close(); "
ABORT = "import os; os.abort()"
SLEEP = "import time; time.sleep(60)"


def run(program: str, limit: float = 60.0, told: list[Any] | None = None) -> dict[str, Any]:
    tell = (lambda figures: None) if told is None else told.append
    return gpu_apart.run_apart([sys.executable, "-c", program], limit, tell)


def answers(**figures: Any) -> str:
    return ANSWERS.replace("{}", repr(figures))


def test_an_answer_of_a_process_that_ends_well_stands() -> None:
    assert run(answers(status="ok", us=3.5)) == {"status": "ok", "us": 3.5}


def test_a_crash_after_the_answer_fails_with_the_figures_kept() -> None:
    result = run(answers(status="ok", us=3.5) + ABORT)
    assert result["status"] == "FAILED"
    assert result["us"] == 3.5
    assert "answered ok; then: ended with status -6" in result["error"]


def test_a_hang_after_the_answer_fails_long_before_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_apart, "EXIT_S", 0.5)
    result = run(answers(status="skipped", answer="no library") + SLEEP)
    assert result["status"] == "FAILED"
    assert result["answer"] == "no library"
    assert "answered skipped; then: no end within 0 s of it" in result["error"]


def test_what_failed_before_a_crash_is_still_said() -> None:
    result = run(answers(status="FAILED", error="0 labels equal") + ABORT)
    assert result["error"].startswith("answered FAILED: 0 labels equal; then: ended with")


@pytest.mark.parametrize(
    ("end", "limit", "said"),
    [
        (ABORT, 60.0, "ended with status -6"),
        (SLEEP, 2.0, "no end within 2 s"),
        ("", 60.0, "without an answer"),
    ],
)
def test_figures_of_a_check_that_does_not_end_are_kept(end: str, limit: float, said: str) -> None:
    result = run(answers(status="unfinished", build_s=7.0) + end, limit)
    assert result["status"] == "FAILED"
    assert result["build_s"] == 7.0
    assert said in result["error"]
    assert result.get("timed_out", False) == (end == SLEEP)


def test_what_a_process_printed_is_kept_where_it_is_needed() -> None:
    assert "Traceback" in run("raise ValueError('no figures')")["output"]


def test_figures_are_told_while_the_process_runs() -> None:
    told: list[Any] = []
    run(answers(status="unfinished", first=1) + SLEEP, 2.0, told)
    assert {"status": "unfinished", "first": 1} in told


def test_what_the_process_started_ends_with_it(tmp_path: Path) -> None:
    child = tmp_path / "pid"
    program = (
        "import os, subprocess, sys; os.setpgrp(); "
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "
        f"open({str(child)!r}, 'w').write(str(child.pid)); "
    )
    run(program + answers(status="ok"))
    assert ends(int(child.read_text()))
