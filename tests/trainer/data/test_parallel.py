from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safetrip_trainer.data.parallel import map_processes
from safetrip_trainer.errors import DatasetError


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise DatasetError("three")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_a_note_and_wait(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(map_processes(square, range(7), workers)) == [0, 1, 4, 9, 16, 25, 36]


def test_nothing_to_do_is_nothing() -> None:
    assert list(map_processes(square, [], None)) == []


def test_a_workers_error_is_raised_here() -> None:
    with pytest.raises(DatasetError, match="three"):
        list(map_processes(fail_at_three, range(9), 2))


def test_a_killed_worker_is_one_clear_error() -> None:
    with pytest.raises(DatasetError, match="a worker process was killed"):
        list(map_processes(die, range(4), 2))


def test_workers_end_with_a_process_that_is_killed_outright(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from safetrip_trainer.data.parallel import map_processes\n"
        "from tests.trainer.data.test_parallel import leave_a_note_and_wait\n"
        "if __name__ == '__main__':\n"
        "    list(map_processes(leave_a_note_and_wait, [Path(sys.argv[1])] * 2, 2))\n"
    )
    script = tmp_path / "many.py"
    script.write_text(code)
    notes = tmp_path / "notes"
    notes.mkdir()
    root = str(Path(__file__).parents[3])
    leader = subprocess.Popen(
        [sys.executable, str(script), str(notes)], env={**os.environ, "PYTHONPATH": root}
    )
    wait_until(lambda: len(list(notes.iterdir())) == 2)
    leader.kill()
    leader.wait()
    wait_until(lambda: not any(is_running(int(note.name)) for note in notes.iterdir()))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")
