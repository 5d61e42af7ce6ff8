"""Free ground of scenes whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest

from safetrip_sdk import CameraIntrinsics
from safetrip_sdk.results.walkable import GAP, find_walkable
from tests.sdk.results.scenes import NOTHING, TABLE, Box, Patch, cast, replaced

SIZE = (256, 320)
CAMERA = CameraIntrinsics(900.0, 880.0, 655.0, 350.0, 1280, 720)
FY = CAMERA.resized(*SIZE).fy
HEIGHT = 1.2


def pixel_row(z: float) -> float:
    """Metres of ground that one row of the labels covers at distance z."""
    return z * z / (FY * HEIGHT)


@pytest.mark.parametrize("z", [3.0, 5.0, 8.0, 15.0])
def test_the_way_is_free_up_to_the_box(z: float) -> None:
    box = Box("person", (-5, -0.5, z), (5, HEIGHT, z + 0.5))
    scene = cast(CAMERA, SIZE, [Patch("sidewalk", (-50, 50), (0, 80))], [box])
    free = scene.walkable(CAMERA, sectors=5).free
    assert free[2] == pytest.approx(z, abs=2 * pixel_row(z))
    assert free[2] <= z, "never farther than it is"


def test_the_way_ends_at_the_kerb_and_at_a_caution_zone() -> None:
    ground = [
        Patch("roadway", (-50, 50), (0, 80)),
        Patch("sidewalk", (-3, 3), (0, 7.0)),
        Patch("braille_guide_blocks", (-0.2, 0.2), (0, 7.0)),
        Patch("caution_zone", (1.0, 3.0), (4.0, 5.0)),
    ]
    scene = cast(CAMERA, SIZE, ground, [])
    way = scene.walkable(CAMERA, sectors=9)
    assert way.free[4] == pytest.approx(7.0, abs=2 * pixel_row(7.0))
    right = way.free[6]
    assert right == pytest.approx(4.0, abs=2 * pixel_row(4.0))
    assert way.caution_ahead[6] == pytest.approx(4.0, abs=0.15)
    assert np.isinf(way.caution_ahead[2])
    assert way.guide.sum() > 0
    assert (way.mask | way.guide == way.mask).all(), "braille blocks are walkable"
    assert not (way.mask & way.caution).any(), "caution zones are kept apart"
    assert not way.mask[scene.labels == TABLE.index("roadway")].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_way_whose_depth_is_not_finite_is_not_free(value: float) -> None:
    ground = [Patch("sidewalk", (-50, 50), (0, 80)), Patch("caution_zone", (1.0, 3.0), (4.0, 5.0))]
    scene = cast(CAMERA, SIZE, ground, [])
    assert scene.walkable(CAMERA, sectors=3).free.min() > 0
    way = replaced(scene, depth=np.full_like(scene.depth, value)).walkable(CAMERA, sectors=3)
    assert (way.free == 0).all()
    assert way.caution_ahead.min() == 0


@pytest.mark.parametrize("rows", [0, 1, GAP - 1, GAP, 40])
def test_a_way_up_to_the_top_of_the_view_is_free_whatever_lies_there(rows: int) -> None:
    scene = cast(CAMERA, SIZE, [Patch("sidewalk", (-50, 50), (0, 80))], [])
    labels = np.zeros_like(scene.labels)
    labels[:rows] = TABLE.index("roadway")
    depth = np.repeat(np.linspace(6, 1, SIZE[0], dtype=np.float32)[:, None], SIZE[1], axis=1)
    free = replaced(scene, labels=labels, depth=depth).walkable(sectors=3).free
    assert (free == depth[rows, 0]).all()


def test_blocked_at_once_open_to_the_horizon_and_flaws() -> None:
    scene = cast(CAMERA, SIZE, [Patch("roadway", (-50, 50), (0, 80))], [])
    assert (scene.walkable(sectors=3).free == 0).all()
    walk = cast(CAMERA, SIZE, [Patch("sidewalk", (-50, 50), (0, 80))], [])
    far = walk.walkable(sectors=3).free
    assert (far > 60).all()
    flawed = walk.labels.copy()
    flawed[200 : 200 + GAP - 1] = TABLE.index("roadway")  # less than GAP rows on end
    flawed[180:, 50] = TABLE.index("roadway")  # one column
    assert np.array_equal(replaced(walk, labels=flawed).walkable(sectors=3).free, far)
    flawed[200 : 200 + GAP] = TABLE.index("roadway")
    assert (replaced(walk, labels=flawed).walkable(sectors=3).free < far / 5).all()


@pytest.mark.parametrize(("blocked", "free"), [(1, 9.0), (2, 0.0), (3, 0.0)])
def test_a_tenth_of_a_sectors_columns_stops_a_robot(blocked: int, free: float) -> None:
    labels = np.zeros((12, 20), np.uint8)
    labels[9:, 5 : 5 + blocked] = TABLE.index("roadway")
    scene = replaced(cast(CAMERA, (12, 20), [], []), labels, np.full((12, 20), 9, np.float32))
    assert scene.walkable(sectors=1).free.tolist() == [free]


@pytest.mark.parametrize(("rows", "ends"), [(2, 1.0), (3, 8.0)])
def test_three_rows_end_the_way_and_two_are_a_flaw(rows: int, ends: float) -> None:
    labels = np.zeros((12, 20), np.uint8)
    labels[7 - rows : 7] = TABLE.index("roadway")
    depth = np.repeat(np.arange(1, 13, dtype=np.float32)[:, None], 20, axis=1)
    scene = replaced(cast(CAMERA, (12, 20), [], []), labels, depth)
    assert scene.walkable(sectors=1).free.tolist() == [ends]


def test_a_caution_zone_is_as_near_as_its_nearest_twentieth() -> None:
    labels = np.full((12, 20), TABLE.index("caution_zone"), np.uint8)
    depth = np.arange(1, 241, dtype=np.float32).reshape(12, 20)
    scene = replaced(cast(CAMERA, (12, 20), [], []), labels, depth)
    assert scene.walkable(sectors=1).caution_ahead.tolist() == [12.0]


def test_everything_is_walkable_or_nothing() -> None:
    scene = cast(CAMERA, (8, 6), [], [])
    everything = replaced(scene, labels=np.zeros((8, 6), np.uint8), depth=np.full((8, 6), 9, np.float32))
    assert everything.walkable(sectors=2).free.tolist() == [9, 9]
    nothing = replaced(scene, labels=np.full((8, 6), NOTHING, np.uint8))
    assert nothing.walkable(sectors=2).free.tolist() == [0, 0]
    low = replaced(scene, labels=np.zeros((1, 6), np.uint8), depth=np.full((1, 6), 2, np.float32))
    assert low.walkable(sectors=1).free.tolist() == [2]


def test_surfaces_of_ones_own() -> None:
    scene = cast(CAMERA, SIZE, [Patch("roadway", (-50, 50), (0, 80))], [])
    assert (find_walkable(scene, TABLE, surfaces=["roadway"]).free > 60).all()
    with pytest.raises(ValueError, match="none of lawn, person is a surface of this model; it has: sidewalk"):
        find_walkable(scene, TABLE, surfaces=["lawn", "person"])
