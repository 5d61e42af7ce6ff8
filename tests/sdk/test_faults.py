"""Time-outs, hangs, dying threads: the right error, nothing lost, and a way back."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Runtime
from safetrip_sdk.backends.base import Backend
from safetrip_sdk.backends.worker import Worker
from safetrip_sdk.errors import (
    CudaError,
    InferenceError,
    ResultTimeoutError,
    RuntimeClosedError,
    SafetripError,
    WorkerDiedError,
)
from safetrip_sdk.inference.delivery import Delivery
from safetrip_sdk.inference.pipeline import Pipeline
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.scripted import FRAME, ScriptedBackend, ScriptedCamera, eventually, numbered, scripted


def test_call_with_timeout_names_the_stage_and_goes_on() -> None:
    backend = ScriptedBackend()
    with scripted(backend, slots=1) as runtime:
        backend.gate.clear()
        with pytest.raises(ResultTimeoutError, match="stage compute") as caught:
            runtime(numbered(1), timeout=0.02)
        assert caught.value.stage == "compute"
        assert caught.value.recoverable
        assert isinstance(caught.value, TimeoutError)
        assert runtime.usable
        with pytest.raises(ResultTimeoutError, match="slots were busy") as caught:
            runtime(numbered(2), timeout=0.02)
        assert caught.value.stage == "queued"
        backend.gate.set()
        assert runtime(numbered(3), timeout=5).labels[0, 0] == 3


def test_ticket_can_be_asked_again() -> None:
    backend = ScriptedBackend()
    with scripted(backend) as runtime:
        backend.gate.clear()
        ticket = runtime.submit(numbered(7))
        with pytest.raises(ResultTimeoutError, match="stage compute"):
            ticket.result(timeout=0.02)
        assert not ticket.done()
        backend.gate.set()
        assert ticket.result(timeout=5).labels[0, 0] == 7
        assert ticket.result().frame_id == ticket.frame_id
        assert ticket.done()


def test_watchdog_names_the_stage_and_frees_whoever_waits() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=0.1)
    backend.gate.clear()
    ticket = runtime.submit(numbered(1))
    with pytest.raises(ResultTimeoutError, match=r"hangs in stage compute.*scripted.*reopen") as caught:
        ticket.result(timeout=5)
    assert not caught.value.recoverable
    assert not runtime.usable
    with pytest.raises(ResultTimeoutError, match="hangs"):
        runtime(numbered(1))
    backend.gate.set()
    runtime.close()


def test_reopen_after_a_hang() -> None:
    hanging, fresh = ScriptedBackend(), ScriptedBackend()
    backends: list[Backend] = [fresh, hanging]
    runtime = Runtime.over(lambda size: backends.pop(), ("a",) * 256, frame_size=FRAME, hang_after=0.1)
    hanging.gate.clear()
    stuck = runtime.submit(numbered(1))
    with pytest.raises(ResultTimeoutError):
        stuck.result(timeout=5)
    runtime.reopen()
    assert runtime.usable
    assert runtime(numbered(5)).labels[0, 0] == 5
    assert [slot.closed for slot in hanging.made] == [0, 0], "memory in use is left alone"
    runtime.close()
    assert [slot.closed for slot in fresh.made] == [1, 1]
    hanging.gate.set()


@pytest.mark.parametrize("call", ["load", "launch", "wait", "read"])
@pytest.mark.parametrize("door", ["call", "submit", "stream"])
def test_backend_that_raises_once(call: str, door: str) -> None:
    backend = ScriptedBackend()
    failures = [RuntimeError("bad luck")]

    def fail(name: str) -> None:
        if name == call and failures:
            raise failures.pop()

    with scripted(backend, slots=1) as runtime:
        backend.fail = fail
        doors = {
            "call": lambda: runtime(numbered(1)),
            "submit": lambda: runtime.submit(numbered(1)).result(5),
            "stream": lambda: list(runtime.stream([numbered(1)] * 3)),
        }
        with pytest.raises(SafetripError, match="bad luck") as caught:
            doors[door]()
        assert caught.value.recoverable
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert runtime.usable
        assert runtime(numbered(9), timeout=5).labels[0, 0] == 9, "the slot came back"
        assert runtime.stats().errors == (0 if door == "stream" and call == "load" else 1)
    assert [slot.closed for slot in backend.made] == [1]
    assert backend.closed == 1


def test_sticky_error_makes_the_runtime_unusable_until_reopened() -> None:
    backend = ScriptedBackend()
    with scripted(backend) as runtime:

        def fail(name: str) -> None:
            if name == "wait":
                raise CudaError("illegal address", call="cudaEventSynchronize", code=700, sticky=True)

        backend.fail = fail
        with pytest.raises(CudaError) as caught:
            runtime(numbered(1))
        assert not caught.value.recoverable
        assert not runtime.usable
        backend.fail = lambda name: None
        with pytest.raises(CudaError, match="illegal address"):
            runtime(numbered(1))
        with pytest.raises(CudaError, match="illegal address"):
            runtime.submit(numbered(1))
        runtime.reopen()
        assert runtime(numbered(4)).labels[0, 0] == 4


def test_failing_to_open_frees_what_was_made() -> None:
    backend = ScriptedBackend()
    calls: list[str] = []

    def fail(name: str) -> None:
        calls.append(name)
        if len(calls) == 2:
            raise InferenceError("no memory for a second slot")

    backend.fail = fail
    with pytest.raises(InferenceError, match="second slot"):
        scripted(backend)
    assert [slot.closed for slot in backend.made] == [1]
    assert backend.closed == 1


def test_dead_delivery_thread_cannot_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend)

    def broken(self: object, flight: object) -> None:
        raise MemoryError("out of memory in the delivery thread")

    monkeypatch.setattr(Delivery, "_deliver", broken)
    ticket = runtime.submit(numbered(1))
    with pytest.raises(WorkerDiedError, match="out of memory") as caught:
        ticket.result(timeout=5)
    assert isinstance(caught.value.__cause__, MemoryError)
    monkeypatch.undo()
    for call in (runtime, runtime.submit):
        with pytest.raises(WorkerDiedError, match="out of memory"):
            call(numbered(1))
    with pytest.raises(WorkerDiedError):
        list(runtime.stream([numbered(1)]))
    assert not runtime.usable
    runtime.reopen()
    assert runtime.submit(numbered(2)).result(5).labels[0, 0] == 2
    runtime.close()


def test_dead_worker_thread_cannot_be_missed() -> None:
    worker = Worker("safetrip-test")
    died = threading.Event()

    def kill() -> None:
        died.set()
        raise SystemExit("killed")

    worker.put(kill)
    died.wait(5)
    eventually(lambda: not worker._thread.is_alive())
    with pytest.raises(WorkerDiedError, match="killed") as caught:
        worker.put(lambda: None)
    assert isinstance(caught.value.__cause__, SystemExit)
    worker.close()
    worker.close()


def test_waiting_for_a_slot_ends_when_the_runtime_closes() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, slots=1)
    backend.gate.clear()
    running = runtime.submit(numbered(1))
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            runtime(numbered(2))
        except BaseException as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    closing = threading.Thread(target=runtime.close)
    time.sleep(0.05)
    closing.start()
    waiting.join(5)
    assert [type(error) for error in errors] == [RuntimeClosedError]
    backend.gate.set()
    closing.join(5)
    assert running.result(5).labels[0, 0] == 1
    assert [slot.closed for slot in backend.made] == [1]


def test_model_that_fails_at_run_time(tiny_bundle: Path, backend: str, frame: NDArray[np.uint8]) -> None:
    """A real backend's own exception: its request is taken away under it."""
    with Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE, slots=1) as runtime:
        opened = runtime._pipeline
        assert opened is not None
        slot = opened.pool.slots[0]
        name = "_session" if backend == "onnxruntime" else "_request"
        real = getattr(slot, name)

        class Broken:
            def __getattr__(self, attribute: str) -> object:
                if attribute in ("start_async", "run_with_iobinding"):
                    raise RuntimeError("the library says no")
                return getattr(real, attribute)

        setattr(slot, name, Broken())
        with pytest.raises(InferenceError, match="the library says no"):
            runtime(frame)
        setattr(slot, name, real)
        runtime(frame)


def test_a_call_that_waits_for_a_hung_frame_is_woken() -> None:
    """Without a timeout, where the backend's wait can be bounded."""
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=0.1)
    backend.gate.clear()
    with pytest.raises(ResultTimeoutError, match="hangs in stage compute"):
        runtime(numbered(1))
    assert not runtime.usable
    backend.gate.set()
    runtime.close()


STICKY = CudaError("illegal address", call="cudaGraphLaunch", code=700, sticky=True)


@pytest.mark.parametrize("bounded", [True, False])
def test_a_hang_found_elsewhere_settles_the_ticket_that_is_waited_for(bounded: bool) -> None:
    """A call hangs; the delivery thread waits for a younger frame, in pieces or in the driver."""
    backend = ScriptedBackend()
    backend.bounded = bounded
    runtime = scripted(backend, hang_after=0.2)
    backend.gate.clear()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            runtime(numbered(1))
        except SafetripError as error:
            errors.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    eventually(lambda: backend.made[0].done)
    ticket = runtime.submit(numbered(2))
    with pytest.raises(ResultTimeoutError, match="frame 0 hangs"):
        ticket.result(timeout=10)
    if bounded:
        calling.join(10)
    assert len(errors) == (1 if bounded else 0), "only the driver ends the other wait"
    backend.gate.set()
    calling.join(10)
    runtime.close()
    assert [slot.closed for slot in backend.made] == [1, 1], "what came back after all is not left behind"


def test_a_fault_of_one_call_settles_every_ticket() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, slots=3)
    backend.gate.clear()
    tickets = [runtime.submit(numbered(1)), runtime.submit(numbered(2))]

    def fail(call: str) -> None:
        if call == "launch":
            raise STICKY

    backend.fail = fail
    with pytest.raises(CudaError, match="illegal address"):
        runtime(numbered(3))
    for ticket in tickets:
        with pytest.raises(CudaError, match="illegal address"):
            ticket.result(timeout=10)
    backend.gate.set()
    runtime.close()
    assert [slot.closed for slot in backend.made] == [1, 1, 1]


def test_a_fault_while_a_frame_is_submitted_settles_its_ticket() -> None:
    """Found when the frame was launched and not yet owed to anybody."""
    backend = ScriptedBackend()
    runtime = scripted(backend)
    backend.gate.clear()

    def fail(call: str) -> None:
        assert runtime._pipeline is not None
        if call == "launch":
            runtime._pipeline.break_down(STICKY)

    backend.fail = fail
    with pytest.raises(CudaError, match="illegal address"):
        runtime.submit(numbered(1)).result(timeout=10)
    backend.gate.set()
    runtime.close()


def test_one_receiver_that_fails_does_not_keep_the_fault_from_the_others() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend)
    backend.gate.clear()
    broken, ticket = runtime.submit(numbered(1)), runtime.submit(numbered(2))
    assert runtime._pipeline is not None
    broken.resolve(None, STICKY)

    def refuse(prediction: object, error: object) -> None:
        raise ValueError("of this receiver")

    runtime._pipeline._delivery._owed[0].deliver = refuse
    runtime._pipeline.break_down(STICKY)
    with pytest.raises(CudaError):
        ticket.result(timeout=10)
    backend.gate.set()
    runtime.close()


def test_a_hang_under_a_stream_whose_next_frame_waits() -> None:
    """There is no slot to be had for it any more: that must not keep the verdict from others."""
    backend = ScriptedBackend(overlaps=True)
    camera = ScriptedCamera()
    runtime = scripted(backend, hang_after=0.3)
    stream = runtime.stream(camera)
    camera.give(1)
    next(stream)
    backend.gate.clear()
    camera.give(2)
    eventually(lambda: camera.asked == 3)
    ticket = runtime.submit(numbered(9))
    camera.give(3)
    with pytest.raises(ResultTimeoutError, match="hangs"):
        ticket.result(timeout=10)
    camera.end()
    with pytest.raises(ResultTimeoutError, match="hangs"):
        list(stream)
    backend.gate.set()
    runtime.close()


@pytest.mark.parametrize("name", ["safetrip-deliver", "safetrip-watchdog"])
def test_a_thread_that_cannot_be_started_ends_the_opening(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first frame, and nothing is left open."""
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name == name:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    backend = ScriptedBackend()
    with pytest.raises(WorkerDiedError, match=f"{name}: the thread cannot be started .*ulimit"):
        scripted(backend)
    assert [slot.closed for slot in backend.made] == [1, 1]
    assert backend.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("safetrip")]
    monkeypatch.undo()
    with scripted(ScriptedBackend()) as runtime:
        before = threading.active_count()
        assert runtime.submit(numbered(4)).result(10).labels[0, 0] == 4
        assert threading.active_count() == before, "every thread was there when it was opened"


def test_a_capture_thread_that_cannot_be_started_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with scripted(ScriptedBackend()) as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(WorkerDiedError, match="safetrip-capture"):
                list(runtime.stream([numbered(1)]))
        assert runtime.usable
        assert len(list(runtime.stream([numbered(1)]))) == 1


def test_the_first_fault_is_what_every_later_call_is_told() -> None:
    """A second of another frame that was under way is its own caller's alone."""
    backend = ScriptedBackend()
    gates = {value: threading.Event() for value in (1, 2)}
    told: dict[int, str] = {}
    waiting: list[int] = []
    mine = threading.local()

    def fail(call: str) -> None:
        if call == "wait" and hasattr(mine, "value"):
            waiting.append(mine.value)
            gates[mine.value].wait(10)
            raise CudaError(f"fault {mine.value}", sticky=True)

    def call(value: int) -> None:
        mine.value = value
        with pytest.raises(CudaError) as caught:
            runtime(numbered(value))
        told[value] = str(caught.value)

    with scripted(backend) as runtime:
        backend.fail = fail
        threads = [threading.Thread(target=call, args=(value,)) for value in (1, 2)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(waiting) == 2)
        for value in (2, 1):
            gates[value].set()
            threads[value - 1].join(10)
        assert told == {1: "fault 1", 2: "fault 2"}
        for door in (runtime, runtime.submit):
            with pytest.raises(CudaError, match="fault 2"):
                door(numbered(3))


def test_of_two_faults_in_the_same_instant_one_is_the_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks whether there is one already, and finds none, is alone at it."""
    both = threading.Barrier(2)
    made: list[BaseException] = []

    def look(self: Pipeline) -> BaseException | None:
        found = made[-1] if made else None
        if threading.current_thread().name.startswith("breaks"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.3)
        return found

    def put(self: Pipeline, fault: BaseException | None) -> None:
        if fault is not None:
            made.append(fault)

    monkeypatch.setattr(Pipeline, "fault", property(look, put), raising=False)
    with scripted(ScriptedBackend()) as runtime:
        pipeline = runtime._pipeline
        assert pipeline is not None
        threads = [
            threading.Thread(target=pipeline.break_down, args=(CudaError(name, sticky=True),), name=name)
            for name in ("breaks one", "breaks two")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len({str(fault) for fault in made}) == 1
    assert sum("unusable until reopen" in record.message for record in caplog.records) == 1
