"""What the CPU backends ask of their libraries, and that a frame is computed where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk.backends.base import BackendOptions
from safetrip_sdk.backends.onnxruntime import OnnxRuntimeBackend
from safetrip_sdk.backends.openvino import OpenVinoBackend
from tests.sdk.conftest import FRAME_SIZE, deploy_graph, expected

BACKENDS = {"openvino": OpenVinoBackend, "onnxruntime": OnnxRuntimeBackend}


def options(wait: str = "block") -> BackendOptions:
    return BackendOptions(FRAME_SIZE, "fp32", wait)


@pytest.mark.parametrize(("wait", "spins"), [("block", "0"), ("poll", "0"), ("spin", None)])
def test_onnxruntimes_threads_sleep_between_frames(wait: str, spins: str | None) -> None:
    """Unless who waits spins, too: by default they burn their cores."""
    backend = OnnxRuntimeBackend(deploy_graph(), options(wait))
    settings = backend._session.get_session_options()
    key = "session.intra_op.allow_spinning"
    if spins is None:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            settings.get_session_config_entry(key)
    else:
        assert settings.get_session_config_entry(key) == spins
    backend.close()


def test_openvino_computes_one_frame_with_all_threads() -> None:
    """Not several at once, which is its other hint: more frames a second, each of them later."""
    backend = OpenVinoBackend(deploy_graph(), options())
    assert str(backend._compiled.get_property("PERFORMANCE_HINT")).endswith("LATENCY")
    assert backend._compiled.get_property("NUM_STREAMS") == 1
    backend.close()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_borrowed_frame_is_read_where_it_lies(name: str, frame: NDArray[np.uint8]) -> None:
    """The slot's own memory stays as it was; what may not be borrowed, or cannot, is copied into it."""
    backend = BACKENDS[name](deploy_graph(), options())
    slot = backend.make_slot()
    labels = expected(frame).argmax(axis=2)
    amid = np.repeat(frame, 2, axis=1)[:, ::2]
    constant = frame.copy()
    constant.flags.writeable = False
    for given, borrow, copied in (
        (frame, True, False),
        (frame, False, True),
        (amid, True, True),
        (constant, True, True),
    ):
        slot.frame.fill(0)
        slot.load(given, borrow=borrow)
        slot.launch()
        assert slot.wait(None)
        assert slot.frame.any() == copied
        assert (slot.read().labels == labels).mean() > 0.99
    slot.close()
    backend.close()
