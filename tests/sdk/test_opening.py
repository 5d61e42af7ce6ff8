"""Opening that takes long, or never ends: nobody else waits for it longer than he says."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from safetrip_sdk import Runtime
from safetrip_sdk.backends import base
from safetrip_sdk.errors import ResultTimeoutError, RuntimeClosedError, SafetripError
from tests.sdk.fake_gpu import FakeCuda, install
from tests.sdk.scripted import ScriptedBackend, eventually, numbered
from tests.sdk.test_cuda import assert_right, bundle, picture  # noqa: F401  (a fixture)


class Opening:
    """A runtime that a thread is opening until `gate` is set."""

    def __init__(self, hang_after: float = 10.0) -> None:
        self.gate = threading.Event()
        self.backend = ScriptedBackend()
        self.runtime = Runtime.over(self._open, ("a",) * 256, hang_after=hang_after)
        self.errors: list[SafetripError] = []
        self.thread = threading.Thread(target=self._call, daemon=True)
        self._begun = threading.Event()
        self.thread.start()
        self._begun.wait(10)

    def _open(self, size: tuple[int, int]) -> ScriptedBackend:
        self._begun.set()
        self.gate.wait(30)
        return self.backend

    def _call(self) -> None:
        try:
            self.runtime(numbered(1))
        except SafetripError as error:
            self.errors.append(error)


@pytest.fixture
def opening() -> Iterator[Opening]:
    opening = Opening(hang_after=0.1)
    yield opening
    opening.gate.set()
    opening.thread.join(10)
    opening.runtime.close()


def in_time(thread: threading.Thread) -> bool:
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_a_call_waits_for_the_opener_as_long_as_it_says(opening: Opening) -> None:
    for call in (opening.runtime, opening.runtime.submit):
        with pytest.raises(ResultTimeoutError, match="another thread opens") as caught:
            call(numbered(2), timeout=0.05)
        assert caught.value.stage == "opening"
        assert caught.value.recoverable
    assert not opening.runtime.usable
    opening.gate.set()
    assert opening.runtime(numbered(2), timeout=10).labels[0, 0] == 2
    assert opening.runtime.usable
    opening.thread.join(10)
    assert opening.errors == []
    assert len(opening.backend.made) == 2, "opened once"


def test_what_is_left_of_the_time_is_the_frames(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    opening.backend.seconds = 30.0
    threading.Timer(0.2, opening.gate.set).start()
    with pytest.raises(ResultTimeoutError, match=r"after [0-9]+ ms") as caught:
        opening.runtime(numbered(2), timeout=0.5)
    assert caught.value.stage in ("queued", "compute")
    said = int(str(caught.value).split(" ms")[0].split()[-1])
    assert said < 500, "the opener had its share"
    for slot in opening.backend.made:
        slot.done = 0.0
    opening.backend.seconds = 0.0


def test_closing_leaves_an_opener_that_hangs_behind(
    opening: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    assert in_time(threading.Thread(target=opening.runtime.close, daemon=True))
    assert "still being opened" in caplog.text
    for call in (opening.runtime, opening.runtime.submit):
        with pytest.raises(RuntimeClosedError):
            call(numbered(2))
    opening.gate.set()
    opening.thread.join(10)
    assert [type(error) for error in opening.errors] == [RuntimeClosedError]
    assert [slot.closed for slot in opening.backend.made] == [1, 1], "it did end: it is closed then"
    assert opening.backend.closed == 1


def test_whoever_waits_for_the_opener_is_told_of_the_closing(opening: Opening) -> None:
    errors: list[SafetripError] = []

    def call() -> None:
        try:
            opening.runtime.open((8, 12))
        except SafetripError as error:
            errors.append(error)

    waiting = threading.Thread(target=call, daemon=True)
    waiting.start()
    opening.runtime.close()
    waiting.join(10)
    assert [type(error) for error in errors] == [RuntimeClosedError]


HANGS = """
import threading, time
from safetrip_sdk import Runtime
from tests.sdk.scripted import numbered

def opener(size):
    opening.set()
    time.sleep(1e6)

opening = threading.Event()
runtime = Runtime.over(opener, ("a",) * 256, hang_after=0.2)
threading.Thread(target=lambda: runtime(numbered(1)), daemon=True).start()
opening.wait()
raise SystemExit(3)
"""


def test_an_opener_that_hangs_does_not_keep_the_process() -> None:
    run = [sys.executable, "-c", HANGS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("wait", ["block", "poll", "spin"])
@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_device_that_hangs_in_the_first_run(
    bundle: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    wait: str,
    from_the_start: bool,
) -> None:
    """In the very first run, or in the captured graph's: what the device may still write is not freed."""
    cuda = FakeCuda()
    install(monkeypatch, cuda)
    monkeypatch.setattr(base, "WARM_UP_S", 0.1)
    real = FakeCuda.cudaGraphLaunch

    def hang(self: FakeCuda, graph: object, stream: object) -> None:
        self.hang = "compute"
        real(self, graph, stream)  # type: ignore[arg-type]

    if from_the_start:
        cuda.hang = "compute"
    else:
        monkeypatch.setattr(FakeCuda, "cudaGraphLaunch", hang)
    runtime = Runtime(bundle, backend="tensorrt", wait=wait)
    with pytest.raises(ResultTimeoutError, match=r"first run hangs in stage compute.*reopen") as caught:
        runtime(picture(1))
    assert not caught.value.recoverable
    freed = {"cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy", "cudaGraphExecDestroy"}
    assert not freed & set(cuda.calls)
    assert list(cuda.live.values()).count("cudaFree") == cuda.calls.count("cudaMalloc") == 3
    cuda.hang = None
    monkeypatch.setattr(FakeCuda, "cudaGraphLaunch", real)
    assert_right(runtime(picture(2)), 2)
    runtime.close()
    assert cuda.faults == []


def test_a_slot_that_hangs_in_its_first_run_keeps_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were made before, too: none is closed."""
    monkeypatch.setattr(base, "WARM_UP_S", 0.05)
    backend = ScriptedBackend()
    real = backend.make_slot

    def make_slot() -> object:
        if backend.made:
            backend.gate.clear()
        slot = real()
        base.warm_up(slot, backend.name)
        return slot

    monkeypatch.setattr(backend, "make_slot", make_slot)
    runtime = Runtime.over(lambda size: backend, ("a",) * 256)
    with pytest.raises(ResultTimeoutError, match="scripted: the first run hangs in stage compute"):
        runtime(numbered(1))
    assert [slot.closed for slot in backend.made] == [0, 0]
    assert backend.closed == 0
    assert runtime.usable, "the next call opens it anew"
    runtime.close()
    eventually(lambda: not [item for item in threading.enumerate() if item.name.startswith("safetrip")])
