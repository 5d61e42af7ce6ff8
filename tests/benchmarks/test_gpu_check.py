"""The GPU check as a program, with a GPU and without: arguments, limits, the report, the exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.gpu_bench import (
    PROGRAM,
    ends,
    gpu_check,
    gpu_environment,
    gpu_report,
    run_program,
    strictly,
)


def test_a_check_that_raises_is_a_finding_with_its_reason() -> None:
    answer = gpu_report.Answer()

    def check(answer: gpu_report.Answer) -> None:
        answer.add(build_s=3.0)
        raise ValueError

    gpu_check.run_check(check, answer)
    assert (answer.figures["status"], answer.figures["build_s"]) == ("FAILED", 3.0)
    assert answer.figures["error"] == "ValueError"
    assert "raise ValueError" in answer.figures["trace"]


def test_without_a_gpu_the_report_says_so_and_the_reference_is_made(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    report, reference = tmp_path / "out" / "gpu.json", tmp_path / "reference.npz"
    command = [sys.executable, str(PROGRAM), "--json", str(report), "--bundle", str(tiny_bundle)]
    wanted = ["--only", "graph", "--only", "tensorrt_rtx fp32", "--reference", str(reference)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, timeout=120)
    found = strictly(report.read_text())
    assert list(found["checks"]) == ["graph", "reference", "tensorrt_rtx fp32"]
    assert found["checks"]["reference"]["status"] == "ok"
    assert reference.exists()
    if found["gpu"]["status"] == "ok":
        assert done.returncode in (0, 1)
        return
    assert done.returncode == 2
    assert done.stderr.startswith("no GPU to check: ")
    assert found["checks"]["graph"] == found["checks"]["tensorrt_rtx fp32"] == {"status": "not run"}


def test_a_wish_that_names_no_check_is_refused_with_the_names(tmp_path: Path) -> None:
    status, report, printed = run_program(tmp_path / "gpu.json", "--only", "sticky", "--only", "stiky")
    assert (status, report) == (2, {})
    assert "--only stiky: no check's name begins so; there are: gpu, correct, graph" in printed
    assert "with --bundle" in printed


def test_the_gpu_alone_may_be_asked_for(tmp_path: Path) -> None:
    status, report, _ = run_program(tmp_path / "gpu.json", "--only", "gpu")
    assert (status, report["checks"], report["gpu"]["compute_capability"]) == (0, {}, [9, 0])


def test_a_bundle_that_is_none_leaves_the_other_checks_alone(tmp_path: Path) -> None:
    wanted = ("--only", "sticky", "--only", "tensorrt fp16")
    status, report, printed = run_program(tmp_path / "gpu.json", "--bundle", "/nowhere.bundle", *wanted)
    assert status == 2
    assert report["error"].startswith("--bundle: /nowhere.bundle: no bundle")
    assert {name: check["status"] for name, check in report["checks"].items()} == {"sticky": "ok"}
    assert printed.count("/nowhere.bundle") == 1
    assert "Traceback" not in printed


def test_everything_ends_within_the_limit_and_one_leaves_time_for_the_next(tmp_path: Path) -> None:
    # `allocation` takes minutes on this GPU.
    wanted = ("--only", "allocation", "--only", "sticky", "--limit", "16")
    status, report, _ = run_program(tmp_path / "gpu.json", *wanted)
    assert status == 1
    assert report["checks"]["allocation"]["status"] == "unfinished"
    assert "no end within " in report["checks"]["allocation"]["error"]
    assert report["checks"]["sticky"]["status"] == "ok"


def test_without_any_time_nothing_is_begun(tmp_path: Path) -> None:
    status, report, _ = run_program(tmp_path / "gpu.json", "--only", "sticky", "--limit", "1")
    assert status == 2
    assert "left no time" in report["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_program_that_is_ended_leaves_what_it_measured(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(PROGRAM), "--json", str(file), "--only", "mapped", "--only", "sticky"]
    program = subprocess.Popen(
        [*command, "--limit", "60"], env=gpu_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    for _ in range(400):
        if file.exists() and "chosen" in file.read_text():
            break
        time.sleep(0.05)
    (child,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    program.send_signal(number)
    _, said = program.communicate(timeout=30)
    report = strictly(file.read_text())
    assert report["gpu"]["status"] == "ok"
    assert report["checks"]["mapped"]["status"] == "unfinished"
    assert report["checks"]["mapped"]["chosen"] == "in place"
    assert report["checks"]["sticky"] == {"status": "not run"}
    ended = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
    assert program.returncode == ended[number]
    assert b"Traceback" not in said
    assert ends(int(child)), "the check that ran holds the GPU"


def test_a_report_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(PROGRAM), "--json", str(tmp_path / "file" / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 2
    assert "gpu_check.py: error: " in done.stderr
    assert "Traceback" not in done.stderr
