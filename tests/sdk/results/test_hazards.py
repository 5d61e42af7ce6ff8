"""Hazards of scenes whose geometry is known: the error is counted in metres and degrees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from safetrip_sdk import CameraIntrinsics
from safetrip_sdk.results.hazards import find_hazards
from safetrip_sdk.results.regions import find_runs
from safetrip_sdk.results.sectors import sector_edges
from tests.sdk.results.scenes import NOTHING, TABLE, Box, Patch, cast, replaced

SIZE = (256, 320)
CAMERA = CameraIntrinsics(900.0, 880.0, 655.0, 350.0, 1280, 720)
GROUND = [Patch("sidewalk", (-50, 50), (0, 80))]


def standing(
    name: str, x: float, z: float, width: float = 0.6, height: float = 1.7, deep: float = 0.5
) -> Box:
    """A box on the ground whose front is `z` metres away."""
    return Box(name, (x - width / 2, 1.2 - height, z), (x + width / 2, 1.2, z + deep))


def test_a_frontal_box_is_exact_in_distance_bearing_and_size() -> None:
    for x, z in ((0.0, 3.0), (-1.1, 5.5), (2.4, 9.0)):
        scene = cast(CAMERA, SIZE, GROUND, [standing("person", x, z)])
        hazards = scene.hazards(CAMERA, sectors=1)
        assert len(hazards) == 1
        hazard = hazards[0]
        assert hazard.name == "person"
        assert hazard.distance == pytest.approx(z, abs=1e-3)
        assert hazard.bearing == pytest.approx(math.atan2(x, z), abs=math.radians(0.3))
        assert hazard.size is not None
        pixel = z / CAMERA.fx * CAMERA.width / SIZE[1]
        # A box beside the axis shows its side, too.
        assert 0.6 - pixel <= hazard.size[0] <= 0.6 + 0.5 * abs(x) / z + 2 * pixel
        assert hazard.size[1] == pytest.approx(1.7, abs=3 * pixel)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [0.45, 1.0])
def test_an_obstacle_without_finite_depth_is_near_and_never_left_out(value: float, share: float) -> None:
    scene = cast(CAMERA, SIZE, GROUND, [standing("person", 0.0, 6.0)])
    depth = scene.depth.copy()
    depth[: round(share * SIZE[0])] = value
    (hazard,) = replaced(scene, depth=depth).hazards(CAMERA, sectors=1)
    assert hazard.name == "person"
    assert hazard.distance == 0.0


def test_each_sector_has_its_nearest_obstacle() -> None:
    boxes = [
        standing("car", -2.0, 6.0, 1.8, 1.4),
        standing("person", 0.0, 3.0),
        standing("pole", 0.1, 8.0, 0.2, 3.0),  # behind the person
        standing("pole", 2.0, 5.0, 0.2, 3.0),
    ]
    scene = cast(CAMERA, SIZE, GROUND, boxes)
    hazards = scene.hazards(CAMERA, sectors=9)
    assert [item.sector for item in hazards] == sorted({item.sector for item in hazards})
    nearest = {item.name: item.distance for item in sorted(hazards, key=lambda item: -item.distance)}
    assert nearest == pytest.approx({"car": 6.0, "person": 3.0, "pole": 5.0}, abs=1e-3)
    edges = np.linspace(*CAMERA.bearing(np.array([-0.5, 1279.5])), 10)
    for item in hazards:
        assert item.bearing is not None
        # To within a column of the labels.
        slack = math.radians(0.3)
        assert edges[item.sector] - slack <= item.bearing <= edges[item.sector + 1] + slack


def test_a_long_obstacle_is_told_sector_by_sector() -> None:
    """A wall that runs away from the camera is near on the right and far in the middle."""
    wall = Box("car", (1.5, -0.5, 2.0), (1.7, 1.2, 30.0))
    scene = cast(CAMERA, SIZE, GROUND, [wall])
    hazards = scene.hazards(CAMERA, sectors=9)
    distances = [item.distance for item in hazards]
    assert len(distances) >= 3
    assert distances == sorted(distances, reverse=True)
    edges = np.linspace(*CAMERA.bearing(np.array([-0.5, 1279.5])), 10)
    for item in hazards:
        # The wall's plane x = 1.5 met by the sector's right edge: a percentile lies a little behind it.
        least = max(1.5 / math.tan(edges[item.sector + 1]), 2.0)
        assert least - 0.05 <= item.distance <= least * 1.1 + 0.05
        assert item.box == hazards[0].box, "one region, one box"


def test_noise_moves_the_distance_by_less_than_its_own_size() -> None:
    generator = np.random.default_rng(1)
    scene = cast(CAMERA, SIZE, GROUND, [standing("person", 0.5, 4.0, 0.8)])
    depth = scene.depth + generator.normal(0, 0.05, SIZE).astype(np.float32)
    wild = generator.random(SIZE) < 0.01
    depth[wild] = 0.1  # one pixel in a hundred is nonsense
    (hazard,) = replaced(scene, depth=depth).hazards(CAMERA, sectors=1)
    assert hazard.distance == pytest.approx(4.0, abs=0.15)


@pytest.mark.parametrize("sectors", [1, 3, 9])
@pytest.mark.parametrize("rows", [240, 120, 33])
def test_a_wide_obstacle_is_as_near_as_its_nearest_twentieth(rows: int, sectors: int) -> None:
    """As exact as if all of its pixels were looked at, which on a ground plane differ from row to row."""
    scene = cast(CAMERA, (512, 512), GROUND, [])
    labels = np.full((512, 512), TABLE.index("sidewalk"), np.uint8)
    labels[512 - rows :] = TABLE.index("car")
    depth = np.repeat(400 * 1.2 / np.maximum(np.arange(512) - 255.5, 1), 512).reshape(512, 512)
    found = replaced(scene, labels=labels, depth=depth.astype(np.float32)).hazards(sectors=sectors)
    exact = float(np.percentile(depth[512 - rows :], 5))
    assert [item.distance for item in found] == pytest.approx([exact] * sectors, rel=0.02)


def test_a_region_is_as_far_as_its_percentile_and_one_near_pixel_makes_it_no_nearer() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:25], labels[25:35, 5:25] = TABLE.index("person"), TABLE.index("car")
    depth = np.full((40, 60), 5.0, np.float32)
    depth[5:15, 5:25] = np.arange(10, 210).reshape(10, 20)
    depth[5, 5] = 1.0
    scene = replaced(cast(CAMERA, (40, 60), [], []), labels, depth)
    (hazard,) = scene.hazards(sectors=1)
    assert (hazard.name, hazard.distance) == ("car", 5.0)
    alone = replaced(scene, np.where(labels == TABLE.index("car"), 0, labels), depth)
    values = np.sort(depth[5:15, 5:25], axis=None)
    for percentile in (0, 5, 10, 50, 100):
        (hazard,) = find_hazards(alone, TABLE, sectors=1, percentile=percentile)
        assert hazard.distance == np.percentile(values, percentile, method="lower")


def test_specks_are_noise_and_a_thin_pole_is_none() -> None:
    scene = cast(CAMERA, SIZE, GROUND, [standing("pole", 0.0, 10.0, 0.12, 3.0)])
    assert [item.name for item in scene.hazards(sectors=1)] == ["pole"]
    labels = np.full(SIZE, 0, np.uint8)
    labels[100:103, 100:103] = TABLE.index("person")
    assert replaced(scene, labels=labels).hazards() == ()


def test_a_thin_obstacle_on_a_sectors_edge_is_not_lost() -> None:
    """Cut in two, both halves are small; the larger one stands for it."""
    labels = np.zeros(SIZE, np.uint8)
    edge = int(sector_edges(SIZE[1], 2, None)[1])
    rows = 12  # 24 pixels, of which 16 make a region
    labels[50 : 50 + rows, edge - 1 : edge + 1] = TABLE.index("pole")
    scene = cast(CAMERA, SIZE, [], [])
    hazards = replaced(scene, labels=labels).hazards(sectors=2)
    assert [item.name for item in hazards] == ["pole"] * len(hazards)
    assert hazards
    assert hazards[0].box == (
        (edge - 1) / SIZE[1],
        50 / SIZE[0],
        (edge + 1) / SIZE[1],
        (50 + rows) / SIZE[0],
    )


def test_confidence_extent_and_what_has_no_intrinsics() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:40] = TABLE.index("person")
    depth = np.full((40, 60), 7.0, np.float32)
    confidence = np.where(labels > 0, 204, 10).astype(np.uint8)
    scene = replaced(cast(CAMERA, (40, 60), [], []), labels, depth, confidence)
    (hazard,) = scene.hazards(sectors=1)
    assert hazard.confidence == pytest.approx(0.8)
    assert hazard.box == (20 / 60, 10 / 40, 40 / 60, 30 / 40)
    assert hazard.pixels == 400
    assert hazard.bearing is None
    assert hazard.size is None
    assert find_hazards(replaced(scene, np.full((40, 60), NOTHING, np.uint8)), TABLE) == ()


@pytest.mark.parametrize("sectors", [0, 61, -1])
def test_sectors_out_of_range(sectors: int) -> None:
    scene = cast(CAMERA, (40, 60), GROUND, [])
    with pytest.raises(ValueError, match="sectors: want 1 to 60"):
        scene.hazards(sectors=sectors)
    with pytest.raises(ValueError, match="ClassTable"):
        replaced(scene, classes=("a", "b")).hazards()


def flood(labels: NDArray[np.uint8], wanted: set[int]) -> NDArray[np.int64]:
    """Regions by flood fill, pixel by pixel: the reference; 0 where nothing is wanted."""
    region = np.zeros(labels.shape, np.int64)
    count = 0
    for seed in np.ndindex(labels.shape):
        if region[seed] or int(labels[seed]) not in wanted:
            continue
        count += 1
        stack = [seed]
        while stack:
            row, column = stack.pop()
            if region[row, column] or labels[row, column] != labels[seed]:
                continue
            region[row, column] = count
            for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1]:
                    stack.append((r, c))
    return region


@settings(max_examples=150, deadline=None)
@given(
    labels=st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 4, 5, NOTHING]))
    ),
    sectors=st.integers(1, 4),
    least=st.integers(0, 6),
)
def test_regions_are_those_of_a_flood_fill(labels: NDArray[np.uint8], sectors: int, least: int) -> None:
    edges = sector_edges(labels.shape[1], min(sectors, labels.shape[1]), None)
    runs = find_runs(labels, TABLE.is_obstacle, edges, least)
    reference = flood(labels, {4, 5})
    sizes = np.bincount(reference.ravel())
    reference[sizes[reference] < least] = 0
    assert int(runs.length.sum()) == int((reference > 0).sum())
    assert set(runs.region.tolist()) == set(range(np.unique(reference[reference > 0]).size))
    pairs = set()
    for start, length, label, sector, region in zip(*runs):
        row, column = divmod(int(start), labels.shape[1])
        cells = reference[row, column : column + length]
        assert (labels[row, column : column + length] == label).all()
        assert edges[sector] <= column
        assert column + length <= edges[sector + 1]
        assert len(set(cells.tolist())) == 1
        pairs.add((int(region), int(cells[0])))
    # One to one.
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@settings(max_examples=60, deadline=None)
@given(
    labels=st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
        lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 4, 4, 5]))
    ),
    sectors=st.integers(1, 3),
    generator=st.integers(0, 2**31).map(np.random.default_rng),
)
def test_hazards_are_the_nearest_parts_of_a_flood_fill(
    labels: NDArray[np.uint8], sectors: int, generator: np.random.Generator
) -> None:
    """With small pictures every pixel is looked at: the distances are exactly those of the definition."""
    sectors = min(sectors, labels.shape[1])
    depth = generator.permutation(labels.size).reshape(labels.shape).astype(np.float32) + 1
    scene = replaced(cast(CAMERA, labels.shape, [], []), labels, depth)
    least = 3.0
    found = {
        item.sector: item.distance
        for item in find_hazards(scene, TABLE, sectors=sectors, min_area=least / labels.size)
    }
    edges = sector_edges(labels.shape[1], sectors, None)
    reference, expected = flood(labels, {4, 5}), {}
    for sector in range(sectors):
        columns = np.s_[:, edges[sector] : edges[sector + 1]]
        distances = []
        for region in set(reference[columns].ravel().tolist()) - {0}:
            inside = [
                np.sort(depth[:, edges[i] : edges[i + 1]][reference[:, edges[i] : edges[i + 1]] == region])
                for i in range(sectors)
            ]
            sizes = [part.size for part in inside]
            if sum(sizes) >= least and (sizes[sector] >= least or sizes[sector] == max(sizes)):
                distances.append(inside[sector][math.floor(0.05 * (sizes[sector] - 1))])
        if distances:
            expected[sector] = min(distances)
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 700),
    data=st.data(),
    degrees=st.floats(1, 179),
    given_intrinsics=st.booleans(),
)
def test_sector_edges_rise_from_end_to_end(
    width: int, data: st.DataObject, degrees: float, given_intrinsics: bool
) -> None:
    sectors = data.draw(st.integers(1, min(width, 40)))
    camera = CameraIntrinsics.from_fov(degrees, width, 100) if given_intrinsics else None
    edges = sector_edges(width, sectors, camera)
    assert edges[0] == 0
    assert edges[-1] == width
    assert (np.diff(edges) >= 1).all()
    assert edges.size == sectors + 1


@pytest.mark.parametrize(("width", "sectors"), [(16, 2), (17, 5), (60, 9), (64, 5)])
def test_sectors_are_equal_angles_from_the_left_rim_to_the_right(width: int, sectors: int) -> None:
    """An edge is the column that begins nearest to it; pixels reach half a column beyond their centres."""
    camera = CameraIntrinsics.from_fov(120.0, width, 100)
    half = math.tan(math.radians(60))
    angles = np.linspace(-60, 60, sectors + 1)
    exact = width / 2 * (1 + np.tan(np.radians(angles)) / half)
    assert np.abs(sector_edges(width, sectors, camera) - exact).max() <= 0.5 + 1e-9
