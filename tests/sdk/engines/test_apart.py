"""Ctrl-C, SIGTERM and whatever a callback raises, in the middle of a real build by TensorRT for RTX."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safetrip_sdk import Bundle, engines
from safetrip_sdk.cli import main
from safetrip_sdk.engines.apart import Task, run_apart
from safetrip_sdk.engines.tensorrt_library import Library
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, make_bundle

needs_rtx = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import tensorrt_rtx"], capture_output=True).returncode != 0,
    reason="tensorrt_rtx is not installed",
)


@contextmanager
def on_message(act: Callable[[], None], part: str) -> Iterator[None]:
    """Within, `act` is called in the library's log callback, once, at the first message with `part` in it."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if todo and part in record.getMessage():
                todo.pop()()

    todo, handler = [act], Handler(logging.DEBUG)
    logger = logging.getLogger("safetrip_sdk.engines.tensorrt_library")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert not todo, f"nothing was logged with {part!r}"


@pytest.fixture
def unbuilt(tmp_path: Path) -> Path:
    """A bundle with two precisions and no engine."""
    models = {"fp32": deploy_graph(work=4), "fp16": deploy_graph(half=True)}
    return make_bundle(tmp_path / "b.bundle", models)


def assert_nothing_was_built(path: Path) -> None:
    bundle = Bundle.open(path)
    bundle.verify()
    assert engines.list_engines(bundle) == []


@needs_rtx
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_library_logs_ends_the_command(
    unbuilt: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_message(lambda: os.kill(os.getpid(), number), "Graph"):
        assert main(["build", str(unbuilt), "--target", "rtx", "--frame", "96x128"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert_nothing_was_built(unbuilt)


@needs_rtx
def test_what_progress_raises_ends_the_build(unbuilt: Path) -> None:
    """`safetrip build X | head`."""
    seen: list[str] = []

    def progress(line: str) -> None:
        seen.append(line)
        assert threading.current_thread() is threading.main_thread()
        if "%" in line:
            raise BrokenPipeError("the reader has gone")

    with pytest.raises(BrokenPipeError):
        engines.build(unbuilt, "rtx", FRAME_SIZE, progress=progress)
    assert sum("building" in line for line in seen) == 1, "no second precision"
    assert_nothing_was_built(unbuilt)


@needs_rtx
def test_what_a_log_handler_raises_ends_the_build(unbuilt: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError("in a handler")

    with on_message(fail, "Graph"), pytest.raises(ZeroDivisionError, match="in a handler"):
        engines.build(unbuilt, "rtx", FRAME_SIZE)
    assert_nothing_was_built(unbuilt)
    assert len(engines.build(unbuilt, "rtx", FRAME_SIZE)) == 2, "the next build is none the worse"


def test_an_interrupted_task_is_cancelled_and_has_ended() -> None:
    states: list[bool] = []

    def work(task: Task) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            if task.cancelled:
                break
            threading.Event().wait(0.01)
        states.append(task.cancelled)

    with pytest.raises(KeyboardInterrupt):
        run_apart(work)
    assert states == [True]


def test_results_and_errors_come_back() -> None:
    assert run_apart(lambda task: threading.current_thread() is threading.main_thread()) is False

    def fail(task: Task) -> None:
        task.report("a line")
        raise ValueError("from apart")

    lines: list[str] = []
    with pytest.raises(ValueError, match="from apart"):
        run_apart(fail, lines.append)
    assert lines == ["a line"]


@needs_rtx
def test_each_library_is_told_what_was_said_since_it_began() -> None:
    first, second = Library("tensorrt_rtx"), Library("tensorrt_rtx")
    assert first.logger is second.logger
    first.listen()
    first.journal.take(logging.ERROR, "a reason")
    second.listen()
    assert "no reason" in second.said()
    assert first.said() == "\n  a reason"
    assert "no reason" in first.said()
    for number in range(100):
        first.journal.take(logging.ERROR, f"error {number}")
    assert first.said().count("\n") == 40


AFTER_THE_FIRST = """
import gc
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import EngineError
libraries = [Library("tensorrt_rtx"), Library("tensorrt_rtx")]
runtimes = [library.make(library.trt.Runtime, EngineError) for library in libraries]
assert "no reason" in libraries[1].said(), "the second logger is refused with a warning"
del libraries[0], runtimes[0]
gc.collect()
libraries[0].trt.get_plugin_registry().load_library("/nonexistent.so")
print("logged", libraries[0].said())
"""


@needs_rtx
def test_the_library_still_logs_when_the_first_runtime_is_gone() -> None:
    """It keeps the address of the first logger: that of a closed runtime crashed the process."""
    run = subprocess.run([sys.executable, "-c", AFTER_THE_FIRST], capture_output=True, text=True, timeout=60)
    assert (run.returncode, "nonexistent" in run.stdout) == (0, True), run.stdout + run.stderr
