from __future__ import annotations

import numpy as np
import pytest

from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.pair import CERTAIN, MAX_RANGE, match_views
from safetrip_trainer.synth.render import View

BASELINE = 0.1
CAMERA = Camera(80, 20, 100.0, 100.0, 39.5, 9.5, (0.0, 1.0, 0.0))


def view(depth: np.ndarray) -> View:
    inverse = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    blank = np.zeros(depth.shape, np.uint8)
    return View(np.zeros((*depth.shape, 3), np.float32), blank, blank.astype(np.int16), inverse)


def wall(near: float, far: float, left: int, right: int) -> np.ndarray:
    """A plate at `near` metres from column `left` to `right`, before a wall at `far`."""
    depth = np.full((20, 80), far)
    depth[:, left:right] = near
    return depth


def test_disparity_is_the_formula_in_256ths() -> None:
    disparity, confidence = match_views(
        view(np.full((20, 80), 2.0)), view(np.full((20, 80), 2.0)), CAMERA, BASELINE
    )
    assert (disparity[:, 6:] == round(100.0 * BASELINE / 2.0 * 256)).all()
    assert (confidence[:, 6:] == CERTAIN).all()


def test_what_the_right_view_cannot_see_is_unknown() -> None:
    near, far = 1.0, 5.0  # 10 and 2 pixels of disparity
    left, right = wall(near, far, 30, 50), wall(near, far, 20, 40)
    disparity, confidence = match_views(view(left), view(right), CAMERA, BASELINE)
    assert (disparity[:, :2] == 0).all()  # left of the right image
    assert (disparity[:, 22:30] == 0).all()  # hidden behind the plate
    assert (disparity[:, 30:50] == 10 * 256).all()
    assert (disparity[:, 52:] == 2 * 256).all()
    assert (confidence[disparity == 0] == 0).all()
    assert (confidence[:, 29:31] < CERTAIN).all()  # the plate's edge


@pytest.mark.parametrize("depth", [np.nan, MAX_RANGE * 1.01, 0.02])
def test_sky_too_far_and_too_near_are_unknown(depth: float) -> None:
    scene = view(np.full((20, 80), depth))
    disparity, confidence = match_views(scene, scene, CAMERA, BASELINE)
    assert not disparity.any()
    assert not confidence.any()
