"""What counts as a deploy graph, whatever library found its tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safetrip_sdk.backends.base import model_spec
from safetrip_sdk.errors import BackendUnavailableError

FRAME = {"frame": ((1, 96, 128, 3), np.dtype(np.uint8))}
OUTPUTS = {
    "labels": ((1, 48, 64), np.dtype(np.uint8)),
    "depth": ((1, 48, 64), np.dtype(np.float32)),
    "confidence": ((1, 48, 64), np.dtype(np.uint8)),
}


def test_confidence_may_be_left_out() -> None:
    whole = model_spec(FRAME, OUTPUTS)
    assert [item.name for item in whole.outputs] == ["labels", "depth", "confidence"]
    assert whole.depth.nbytes == 48 * 64 * 4
    bare = model_spec(FRAME, {name: OUTPUTS[name] for name in ("labels", "depth")})
    assert [item.name for item in bare.outputs] == ["labels", "depth"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"second": FRAME["frame"]}, {}, "want one input"),
        ({"frame": ((1, 96, 128, 3), np.dtype(np.float32))}, {}, "input frame is .* float32"),
        ({"frame": ((2, 96, 128, 3), np.dtype(np.uint8))}, {}, "input frame is"),
        ({"frame": ((1, 3, 96, 128), np.dtype(np.uint8))}, {}, "input frame is"),
        ({}, {"depth": None}, "no output 'depth'"),
        ({}, {"labels": ((1, 48, 64), np.dtype(np.int64))}, "output labels is .* int64"),
        ({}, {"depth": ((1, 48, 64), np.dtype(np.float16))}, "output depth is .* float16"),
        ({}, {"depth": ((1, 1, 48, 64), np.dtype(np.float32))}, "output depth is"),
        ({}, {"depth": ((1, 24, 32), np.dtype(np.float32))}, "outputs of different sizes"),
    ],
)
def test_what_is_no_deploy_graph(inputs: dict[str, Any], outputs: dict[str, Any], message: str) -> None:
    found = {name: value for name, value in {**OUTPUTS, **outputs}.items() if value is not None}
    with pytest.raises(BackendUnavailableError, match=f"no deploy graph: .*{message}"):
        model_spec({**FRAME, **inputs}, found)
