"""What is no frame is refused with what makes one of it, and that does."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk.errors import FrameError
from safetrip_sdk.frame import size_of

GRAY, BGRA = "cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)", "cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR)"
CHANNELS_LAST = "numpy.ascontiguousarray(frame.transpose(1, 2, 0))"
FLOAT = "numpy.uint8(frame * 255)"


@pytest.mark.parametrize(
    ("array", "steps"),
    [
        (np.zeros((4, 6), np.uint8), [GRAY]),
        (np.zeros((4, 6, 1), np.uint8), [GRAY]),
        (np.zeros((4, 6, 4), np.uint8), [BGRA]),
        (np.zeros((3, 4, 6), np.uint8), [CHANNELS_LAST]),
        (np.zeros((4, 6, 3), np.float32), [FLOAT]),
        (np.zeros((4, 6), np.uint16), ["numpy.uint8(frame >> 8)", GRAY]),
        (np.zeros((1, 3, 4, 6), np.float32), ["frame[0]", CHANNELS_LAST, FLOAT]),
    ],
)
def test_what_helps_is_said_and_helps(array: NDArray[Any], steps: list[str]) -> None:
    with pytest.raises(FrameError, match=r"^frame: want .*; what helps: ") as caught:
        size_of(array)
    said = str(caught.value).split("; what helps: ")[1].split(", then ")
    assert len(said) == len(steps)
    frame: Any = array
    for words, step in zip(said, steps):
        assert words.startswith(step)
        frame = eval(step, {"cv2": cv2, "numpy": np, "frame": frame})
    assert size_of(frame) == (4, 6)


@pytest.mark.parametrize("array", [np.zeros((0, 6, 3), np.uint8), np.zeros((4, 6, 3), bool), np.zeros(7)])
def test_what_looks_like_no_image_gets_no_advice(array: NDArray[Any]) -> None:
    with pytest.raises(FrameError) as caught:
        size_of(array)
    assert "what helps" not in str(caught.value)
