from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.synth.camera import Camera, clip_polygon

angles = st.floats(-0.5, 0.5)


def camera(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Camera:
    return Camera(200, 100, 150.0, 150.0, 99.5, 49.5, (1.0, 1.4, -2.0), yaw, pitch, roll)


@given(angles, angles, angles)
def test_a_rotation_keeps_lengths_and_angles(yaw: float, pitch: float, roll: float) -> None:
    rotation = camera(yaw, pitch, roll).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_ahead_is_the_centre_right_is_right_and_up_is_up() -> None:
    view = camera()
    ahead = view.to_camera(np.array([[1.0, 1.4, 3.0], [2.0, 1.4, 3.0], [1.0, 2.4, 3.0]]))
    np.testing.assert_allclose(ahead[:, 2], 5.0)
    np.testing.assert_allclose(view.project(ahead), [[99.5, 49.5], [129.5, 49.5], [99.5, 19.5]])


def test_yaw_turns_right_and_pitch_turns_down() -> None:
    yaw, pitch = 0.3, 0.2
    to_the_right = np.array([1 + math.sin(yaw), 1.4, -2 + math.cos(yaw)])
    np.testing.assert_allclose(camera(yaw=yaw).to_camera(to_the_right), [0, 0, 1], atol=1e-12)
    below = np.array([1, 1.4 - math.sin(pitch), -2 + math.cos(pitch)])
    np.testing.assert_allclose(camera(pitch=pitch).to_camera(below), [0, 0, 1], atol=1e-12)


@given(angles, angles, angles, st.floats(0.01, 1.0))
def test_the_right_camera_of_a_pair_sees_points_further_left(
    yaw: float, pitch: float, roll: float, baseline: float
) -> None:
    left = camera(yaw, pitch, roll)
    point = np.array([1.5, 0.3, 6.0])
    here, there = left.to_camera(point), left.shifted(baseline).to_camera(point)
    np.testing.assert_allclose(there, here - [baseline, 0, 0], atol=1e-9)


@given(st.floats(-3.0, 3.0))
def test_clipping_keeps_the_right_side_and_its_area(cut: float) -> None:
    square = np.array([[-2.0, -2, 1], [2, -2, 1], [2, 2, 1], [-2, 2, 1]])
    part = clip_polygon(square, np.array([1.0, 0, 0]), cut)
    expected = 4.0 * min(max(2.0 - cut, 0.0), 4.0)
    if expected <= 1e-9:
        return
    assert (part[:, 0] >= cut - 1e-9).all()
    x, y = part[:, 0], part[:, 1]
    area = 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    np.testing.assert_allclose(area, expected)
