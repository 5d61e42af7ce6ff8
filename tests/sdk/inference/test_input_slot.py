"""A slot lent to a camera: written in place, submitted once, given back whatever happens."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Runtime, open_source
from safetrip_sdk.errors import ResultTimeoutError, RuntimeClosedError
from tests.sdk.conftest import FRAME_SIZE
from tests.sdk.scripted import ScriptedBackend, scripted
from tests.sdk.test_runtime import assert_right


def test_what_is_written_into_a_slot_is_predicted(
    tiny_bundle: Path, backend: str, frame: NDArray[np.uint8]
) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32", frame_size=FRAME_SIZE) as runtime:
        runtime(frame[::-1].copy())  # borrowed: the slot's own memory is another
        for written in (frame, frame[::-1]):
            with runtime.slot() as slot:
                assert slot.frame.shape == frame.shape
                assert slot.frame.flags.c_contiguous
                assert slot.frame.ctypes.data % 256 == 0
                slot.frame[:] = written
                taken = time.monotonic_ns() - 5_000_000
                ticket = slot.submit(captured_at=taken)
            prediction = ticket.result()
            assert_right(prediction, np.ascontiguousarray(written))
            assert prediction.captured_at == taken


def test_a_source_reads_into_it(tiny_bundle: Path, backend: str, tmp_path: Path) -> None:
    with (
        open_source(f"synthetic://{FRAME_SIZE[1]}x{FRAME_SIZE[0]}?frames=3") as camera,
        Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE) as runtime,
    ):
        seen = []
        while True:
            with runtime.slot() as slot:
                captured_at = camera.read_into(slot.frame)
                if captured_at is None:
                    break
                seen.append(slot.submit(captured_at).result().captured_at == captured_at)
        assert seen == [True] * 3


def test_a_slot_counts_until_it_is_submitted_or_given_back(tiny_bundle: Path, backend: str) -> None:
    with Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE, slots=1) as runtime:
        with runtime.slot() as slot, pytest.raises(ResultTimeoutError, match="all 1 slots were busy"):
            runtime.slot(timeout=0.01)
        slot.close()
        for use in (lambda: slot.frame, slot.submit):
            with pytest.raises(ValueError, match="take another one"):
                use()
        with pytest.raises(ZeroDivisionError), runtime.slot():
            1 / 0  # noqa: B018
        with runtime.slot() as slot:
            ticket = slot.submit()
            slot.close()
        with pytest.raises(ValueError, match="take another one"):
            slot.submit()
        assert ticket.result().frame_id == 0
        assert runtime.stats().frames == 1
        runtime.slot(timeout=1.0).close()


def test_a_slot_needs_a_size_and_an_open_runtime(tiny_bundle: Path, backend: str) -> None:
    runtime = Runtime(tiny_bundle, backend=backend)
    with pytest.raises(ValueError, match="frame_size"):
        runtime.slot()
    runtime.open(FRAME_SIZE)
    slot = runtime.slot()
    slot.close()
    runtime.close()
    with pytest.raises(RuntimeClosedError):
        runtime.slot()


def test_memory_that_is_written_into_is_not_freed() -> None:
    """By a signal handler amid the writing, that is: the thread that closes has the slot itself."""
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=2.0)
    with runtime.slot() as slot:
        runtime.close()
        slot.frame[:] = 3
        with pytest.raises(RuntimeClosedError):
            runtime.slot()
        assert (backend.closed, [made.closed for made in backend.made]) == (0, [0, 0])
        ticket = slot.submit()
    assert ticket.result().labels[0, 0] == 3
    assert (backend.closed, [made.closed for made in backend.made]) == (1, [1, 1])


def test_closing_waits_for_another_threads_slot() -> None:
    backend = ScriptedBackend()
    runtime = scripted(backend, hang_after=10.0)
    slot = runtime.slot()
    closing = threading.Thread(target=runtime.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    assert backend.closed == 0
    slot.close()
    closing.join(5.0)
    assert not closing.is_alive()
    assert backend.closed == 1
