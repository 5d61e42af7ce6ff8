"""What people hand over by mistake: one sentence that says what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from safetrip_sdk import CameraIntrinsics, ClassTable, Overlay, Prediction, Timing
from safetrip_sdk.errors import FrameError
from safetrip_sdk.results import find_hazards, find_walkable, to_points
from tests.sdk.results.scenes import TABLE

CAMERA = CameraIntrinsics(50.0, 50.0, 20.0, 15.0, 40, 30)
SEEN = Prediction(
    np.zeros((30, 40), np.uint8),
    np.ones((30, 40), np.float32),
    None,
    TABLE,
    frame_id=0,
    captured_at=0,
    timing=Timing(0, 0, 0, 0, 0),
)
NUMBERS: Any = (500, 500, 320, 240)
NO_CAMERA = r"intrinsics: want a CameraIntrinsics\(fx, fy, cx, cy, width, height\), not "


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: SEEN.hazards(NUMBERS), NO_CAMERA + "tuple"),
        (lambda: SEEN.hazards(9), NO_CAMERA + "int"),
        (lambda: SEEN.hazards(()), NO_CAMERA + "tuple"),
        (lambda: SEEN.hazards(np.eye(3)), NO_CAMERA + "ndarray"),
        (lambda: SEEN.walkable(NUMBERS), NO_CAMERA + "tuple"),
        (lambda: SEEN.points(NUMBERS), NO_CAMERA + "tuple"),
        (lambda: SEEN.points(None), NO_CAMERA + "NoneType"),
        (lambda: SEEN.points(CAMERA, "5"), "max_distance: want metres, not str"),
        (lambda: SEEN.hazards(CAMERA, 9.0), "sectors: want a whole number, not float"),
        (lambda: SEEN.walkable(CAMERA, "9"), "sectors: want a whole number, not str"),
        (lambda: find_hazards(SEEN.labels, TABLE), "prediction: want a Prediction, not ndarray"),
        (lambda: find_hazards(SEEN, tuple(TABLE)), "table: want a ClassTable, .* not tuple"),
        (lambda: find_walkable(SEEN, tuple(TABLE)), "table: want a ClassTable, .* not tuple"),
        (lambda: find_walkable(SEEN, TABLE, surfaces="alley"), r"surfaces: .* \('alley',\), not one string"),
        (lambda: to_points(SEEN.labels, CAMERA), "prediction: want a Prediction, not ndarray"),
        (lambda: ClassTable(["sidewalk"]), "classes: want a ClassInfo"),
        (lambda: Overlay(tuple(TABLE)), "classes: want a ClassInfo"),
        (lambda: Overlay(TABLE.infos).draw(np.zeros((30, 40, 3), np.uint8), SEEN.labels), "prediction: want"),
        (
            lambda: Prediction([[1]], SEEN.depth, None, TABLE, 0, 0, SEEN.timing),
            r"prediction\.labels: want a NumPy array, not list",
        ),
    ],
)
def test_a_wrong_type_is_named_at_the_door(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        call()


def test_a_frame_that_is_none_is_named_before_opencv_sees_it() -> None:
    with pytest.raises(FrameError, match=r"want \(H, W, 3\) uint8 BGR, not \(30, 40\) uint8"):
        Overlay(TABLE.infos).draw(SEEN.labels, SEEN)


def test_numbers_of_numpy_are_numbers() -> None:
    assert SEEN.points(CAMERA, np.float32(0.5)).labels.size == 0
    assert SEEN.walkable(CAMERA, np.int64(3)).free.size == 3
    assert SEEN.hazards(sectors=np.uint8(3)) == ()
