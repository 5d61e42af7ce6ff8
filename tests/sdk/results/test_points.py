"""Point clouds against the geometry they were made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetrip_sdk import CameraIntrinsics
from tests.sdk.results.scenes import TABLE, Box, Patch, cast, replaced

CAMERA = CameraIntrinsics(900.0, 880.0, 655.0, 350.0, 1280, 720)


def test_points_lie_on_the_surfaces_they_come_from() -> None:
    ground = [Patch("sidewalk", (-50, 50), (0, 80))]
    box = Box("person", (0.5, -0.5, 4.0), (1.1, 1.2, 4.5))
    scene = cast(CAMERA, (200, 300), ground, [box])
    points = scene.points(CAMERA, max_distance=79.0)
    assert points.xyz.dtype == np.float32
    assert points.xyz.shape == (points.labels.size, 3)
    walk = points.xyz[points.labels == TABLE.index("sidewalk")]
    np.testing.assert_allclose(walk[:, 1], 1.2, atol=1e-4)
    person = points.xyz[points.labels == TABLE.index("person")]
    # Every point is on the box's front, side or top, to a tenth of a millimetre.
    front, side, top = (np.abs(person[:, axis] - at) for axis, at in ((2, 4.0), (0, 0.5), (1, -0.5)))
    assert np.minimum(np.minimum(front, side), top).max() < 1e-4
    assert person[:, 0].min() == pytest.approx(0.5, abs=0.02)
    assert person[:, 0].max() == pytest.approx(1.1, abs=0.02)


def test_points_without_a_depth_are_left_out() -> None:
    scene = cast(CAMERA, (20, 30), [], [])
    depth = np.full((20, 30), 5.0, np.float32)
    whole = replaced(scene, depth=depth)
    assert whole.points(CAMERA).xyz.shape == (600, 3)
    assert not np.shares_memory(whole.points(CAMERA).labels, whole.labels)
    depth[0, 0], depth[0, 1], depth[0, 2], depth[0, 3] = np.nan, np.inf, 0.0, -1.0
    points = replaced(scene, depth=depth).points(CAMERA)
    assert points.xyz.shape == (596, 3)
    assert points.labels.shape == (596,)
    assert np.isfinite(points.xyz).all()
    labels = points.labels.copy()
    at_the_limit = replaced(scene, depth=depth).points(CAMERA, max_distance=5.0)
    assert at_the_limit.labels.size == 596, "only what lies behind it is left out"
    assert replaced(scene, depth=depth).points(CAMERA, max_distance=1.0).xyz.shape == (0, 3)
    assert np.array_equal(labels, points.labels)


@settings(max_examples=60, deadline=None)
@given(
    degrees=st.floats(20, 150),
    size=st.tuples(st.integers(2, 900), st.integers(2, 900)),
    net=st.tuples(st.integers(2, 60), st.integers(2, 60)),
)
def test_projecting_the_points_gives_their_pixels(
    degrees: float, size: tuple[int, int], net: tuple[int, int]
) -> None:
    camera = CameraIntrinsics.from_fov(degrees, size[1], size[0])
    scene = replaced(
        cast(camera, net, [], []),
        depth=np.random.default_rng(0).uniform(1, 30, net).astype(np.float32),
    )
    xyz = scene.points(camera).xyz.astype(np.float64)
    u = xyz[:, 0] / xyz[:, 2] * camera.fx + camera.cx
    v = xyz[:, 1] / xyz[:, 2] * camera.fy + camera.cy
    # Where the graph's resize takes these pixels from: half-pixel centres.
    columns = (np.arange(net[1]) + 0.5) * size[1] / net[1] - 0.5
    rows = (np.arange(net[0]) + 0.5) * size[0] / net[0] - 0.5
    np.testing.assert_allclose(u.reshape(net), np.broadcast_to(columns, net), atol=1e-3 * size[1])
    np.testing.assert_allclose(v.reshape(net), np.broadcast_to(rows[:, None], net), atol=1e-3 * size[0])


def test_intrinsics_refuse_nonsense() -> None:
    for figures in ((0, 1, 0, 0, 10, 10), (1, 1, float("nan"), 0, 10, 10), (1, 1, 0, 0, 0, 10)):
        with pytest.raises(ValueError, match="intrinsics"):
            CameraIntrinsics(*figures)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="degrees"):
        CameraIntrinsics.from_fov(180, 10, 10)
    camera = CameraIntrinsics.from_fov(90, 640, 480)
    assert camera.bearing(-0.5) == pytest.approx(-np.pi / 4)
    assert camera.column(camera.bearing(100.0)) == pytest.approx(100.0)
