"""Ctrl-C, or whatever else a signal raises, in the middle of a call: the runtime goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safetrip_sdk.inference import pipeline
from tests.sdk.scripted import ScriptedBackend, numbered, scripted


@pytest.mark.parametrize("where", ["wait", "read"])
def test_interrupted_call_gives_its_slot_back(where: str) -> None:
    backend = ScriptedBackend()
    interrupts = [KeyboardInterrupt()]

    def fail(name: str) -> None:
        if name == where and interrupts:
            raise interrupts.pop()

    with scripted(backend, slots=1) as runtime:
        backend.fail = fail
        with pytest.raises(KeyboardInterrupt):
            runtime(numbered(1))
        assert runtime(numbered(2), timeout=5).labels[0, 0] == 2
        assert runtime._pipeline is not None
        assert not runtime._pipeline._watchdog._flights, "it will not be taken for hung"


@pytest.mark.parametrize("door", ["call", "submit"])
def test_an_interrupt_between_two_steps_loses_no_slot(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the launch (submit), or when the outputs are there and not yet read (call)."""
    step = "arrived" if door == "call" else "launch"
    real = getattr(pipeline.Pipeline, step)
    interrupts = [KeyboardInterrupt()]

    def interrupted(*args: object, **options: object) -> object:
        if step == "launch":
            real(*args, **options)
        if interrupts:
            raise interrupts.pop()
        return None if step == "launch" else real(*args, **options)

    with scripted(ScriptedBackend(), slots=1) as runtime:
        monkeypatch.setattr(pipeline.Pipeline, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            runtime(numbered(1)) if door == "call" else runtime.submit(numbered(1))
        assert runtime(numbered(2), timeout=5).labels[0, 0] == 2
        assert runtime._pipeline is not None
        assert not runtime._pipeline._watchdog._flights, "it will not be taken for hung"


SEVERAL_THEN_CTRL_C = """
import gc, os, signal, sys
import numpy as np
from safetrip_sdk import Runtime
runtimes = [Runtime(sys.argv[1], backend="openvino", precision="fp32") for _ in range(3)]
for runtime in runtimes:
    runtime(np.zeros((96, 128, 3), np.uint8))
for runtime in runtimes:
    runtime.close()
del runtime, runtimes
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_several_openvino_runtimes_is_no_crash(tiny_bundle: Path) -> None:
    """Each OpenVINO core swaps the thread's signal stack; ended in order, the last left a freed one."""
    command = [sys.executable, "-c", SEVERAL_THEN_CTRL_C, str(tiny_bundle)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
