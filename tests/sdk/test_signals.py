"""Signal handlers that close the runtime, or ask for its figures, amid whatever the main thread is at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from safetrip_sdk import Runtime
from safetrip_sdk.errors import RuntimeClosedError, RuntimeFaultError
from safetrip_sdk.inference.stats import Histogram
from tests.sdk.scripted import FRAME, ScriptedBackend, numbered, scripted


@pytest.fixture
def handle() -> Iterator[Callable[[Callable[[], object]], Callable[[], None]]]:
    """Takes what a handler is to do; gives what makes it run, once, amid the main thread's work."""

    def give_up(*_: object) -> None:
        raise TimeoutError("the handler waits for what it has interrupted")

    def install(action: Callable[[], object]) -> Callable[[], None]:
        left = [signal.SIGUSR1]
        signal.signal(signal.SIGUSR1, lambda *_: action() and None)
        return lambda: left and signal.raise_signal(left.pop())

    before = [(number, signal.getsignal(number)) for number in (signal.SIGUSR1, signal.SIGALRM)]
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield install
    signal.alarm(0)
    for number, handler in before:
        signal.signal(number, handler)


Handle = Callable[[Callable[[], object]], Callable[[], None]]


@pytest.mark.parametrize("where", ["load", "launch", "wait", "read"])
@pytest.mark.parametrize("door", ["call", "submit"])
def test_closing_amid_a_call(handle: Handle, door: str, where: str) -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=2.0)
    interrupt = handle(runtime.close)

    def fail(call: str) -> None:
        if call == where and threading.current_thread() is threading.main_thread():
            interrupt()

    backend.fail = fail
    found = runtime(numbered(1)) if door == "call" else runtime.submit(numbered(1)).result(10)
    assert found.labels[0, 0] == 1, "the frame that was under way is finished"
    if door == "submit" and where in ("wait", "read"):
        runtime.close()  # these two are not the main thread's: nothing was interrupted
    assert [slot.closed for slot in backend.made] == [1, 1]
    assert backend.closed == 1
    assert not runtime.usable
    with pytest.raises(RuntimeClosedError):
        runtime(numbered(2))
    runtime.close()
    assert backend.closed == 1


def test_closing_two_amid_a_call_of_one(handle: Handle) -> None:
    """The other has nothing under way: it is closed at once."""
    backends = ScriptedBackend(), ScriptedBackend()
    first, second = (scripted(backend, hang_after=2.0) for backend in backends)
    closed: list[int] = []

    def close() -> None:
        first.close()
        second.close()
        closed.extend(backend.closed for backend in backends)

    interrupt = handle(close)
    backends[0].fail = lambda call: interrupt() if call == "wait" else None
    first(numbered(1))
    assert closed == [0, 1]
    assert [backend.closed for backend in backends] == [1, 1]


def test_closing_amid_the_opening(handle: Handle) -> None:
    backend = ScriptedBackend()

    def opener(size: tuple[int, int]) -> ScriptedBackend:
        interrupt()
        return backend

    runtime = Runtime.over(opener, ("a",) * 256)
    interrupt = handle(runtime.close)
    with pytest.raises(RuntimeClosedError, match="while it was being opened"):
        runtime(numbered(1))
    assert [slot.closed for slot in backend.made] == [1, 1]
    assert backend.closed == 1
    with pytest.raises(RuntimeClosedError):
        runtime(numbered(1))


def test_calling_amid_the_opening(handle: Handle) -> None:
    """Only the very thread that the handler has interrupted could open it: an error, and no deadlock."""
    errors: list[RuntimeFaultError] = []

    def call() -> None:
        with pytest.raises(RuntimeFaultError, match="being opened by the thread that calls it") as caught:
            runtime(numbered(1))
        errors.append(caught.value)

    def opener(size: tuple[int, int]) -> ScriptedBackend:
        interrupt()
        return ScriptedBackend()

    interrupt = handle(call)
    with Runtime.over(opener, ("a",) * 256) as runtime:
        assert runtime(numbered(3)).labels[0, 0] == 3
    assert len(errors) == 1


def test_figures_amid_their_counting(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []
    real = Histogram.add
    with scripted(ScriptedBackend()) as runtime:
        interrupt = handle(lambda: frames.append(runtime.stats().frames))

        def add(self: Histogram, value: float) -> None:
            interrupt()
            real(self, value)

        monkeypatch.setattr(Histogram, "add", add)
        runtime(numbered(1))
        assert frames == [0]
        assert runtime.stats().frames == 1


def test_a_call_amid_which_another_thread_closes_is_finished_by_that() -> None:
    """Nothing was interrupted: `close` waits for the frame."""
    backend = ScriptedBackend()
    runtime = Runtime.over(lambda size: backend, ("a",) * 256, frame_size=FRAME)
    closing = threading.Thread(target=runtime.close)

    def fail(call: str) -> None:
        if call == "wait":
            closing.start()

    backend.fail = fail
    assert runtime(numbered(5)).labels[0, 0] == 5
    closing.join(10)
    assert [slot.closed for slot in backend.made] == [1, 1]
