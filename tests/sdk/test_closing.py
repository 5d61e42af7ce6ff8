"""How a runtime ends: closed, dropped, or left open when the process exits."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.sdk.scripted import ScriptedBackend, eventually, numbered, scripted


@pytest.mark.parametrize("never", [0, float("inf"), 1e300])
def test_hang_after_never_closes_like_any_other(never: float) -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=never)
    backend.gate.clear()
    ticket = runtime.submit(numbered(1))
    closing = threading.Thread(target=runtime.close)
    closing.start()
    eventually(lambda: runtime._pipeline is not None and runtime._pipeline.closed)
    backend.gate.set()
    closing.join(10)
    assert ticket.result(10).labels[0, 0] == 1
    assert [slot.closed for slot in backend.made] == [1, 1]


def test_a_runtime_that_is_dropped_is_closed() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend)
    ticket = runtime.submit(numbered(1))
    with pytest.warns(ResourceWarning, match="dropped open"):
        del runtime
    eventually(lambda: backend.closed)
    assert ticket.result(5).labels[0, 0] == 1, "what was in flight is finished"
    assert [slot.closed for slot in backend.made] == [1, 1]
    eventually(lambda: not [item for item in threading.enumerate() if item.name.startswith("safetrip")])


LEFT_OPEN = """
from safetrip_sdk.sources.live import LiveSource
from tests.sdk.scripted import ScriptedBackend, numbered, scripted
from tests.sdk.test_live import FakeCapture

class Told(ScriptedBackend):
    def close(self):
        print("backend closed")

class Camera(FakeCapture):
    def retrieve(self, out=None):
        return True, numbered(1)

    def release(self):
        print("camera let go")

runtime = scripted(Told(0.2))
camera = LiveSource("camera", Camera)
tickets = [runtime.submit(numbered(1)) for _ in range(2)]
{stream}
raise SystemExit(3)
"""


@pytest.mark.parametrize("stream", ["", "stream = runtime.stream(camera); next(stream)"])
def test_what_is_open_at_exit_is_closed(stream: str) -> None:
    """Else native code at work in another thread aborts the process, and its exit status is lost."""
    run = [sys.executable, "-c", LEFT_OPEN.format(stream=stream)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 3, done.stderr
    assert sorted(done.stdout.splitlines()) == ["backend closed", "camera let go"]


OPENING = """
import threading, time
from safetrip_sdk import Runtime
from tests.sdk.scripted import ScriptedBackend, numbered

class Told(ScriptedBackend):
    def close(self):
        print("closed")

def opener(size):
    opening.set()
    time.sleep(0.3)
    print("opened")
    return Told()

opening = threading.Event()
runtime = Runtime.over(opener, ("a",) * 256)
threading.Thread(target=lambda: runtime.submit(numbered(1)), daemon=True).start()
opening.wait()
"""


def test_what_is_being_opened_at_exit_is_closed() -> None:
    """In a daemon's thread, which the interpreter does not wait for."""
    run = [sys.executable, "-c", OPENING]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["opened", "closed"]
