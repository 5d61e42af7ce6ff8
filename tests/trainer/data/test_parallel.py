from __future__ import annotations

import os
import signal

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
