"""The renderer against rays traced one by one with plain geometry."""

from __future__ import annotations

import numpy as np
import pytest

from safetrip_trainer.classes import CLASS_NAMES, IGNORE
from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.canvas import box, plain, upright
from safetrip_trainer.synth.render import FAR, render
from safetrip_trainer.synth.scene import GroundPatch, Scene, Texture, Thing
from safetrip_trainer.synth.textures import make_materials

CAR, PERSON = CLASS_NAMES.index("car"), CLASS_NAMES.index("person")
GROUND = np.array([[-400.0, -5.0], [400.0, -5.0], [400.0, 300.0], [-400.0, 300.0]])
STRIP = np.array([[-0.5, 2.0], [0.5, 2.0], [0.5, 9.0], [-0.5, 9.0]])


@pytest.fixture(scope="module")
def materials() -> list[np.ndarray]:
    return make_materials(np.random.default_rng(0), 32)


def make_scene(materials: list[np.ndarray], *things: Thing) -> Scene:
    patches = (GroundPatch(GROUND, 0, "pavers"), GroundPatch(STRIP, 1, "bars"))
    return Scene(things, patches, materials, np.full((16, 64, 3), 200, np.uint8))


def make_camera(**angles: float) -> Camera:
    return Camera(120, 90, 90.0, 90.0, 60.3, 44.1, (0.2, 1.3, 0.0), **angles)


def rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Origin, and (H, W, 3) world directions whose camera z is 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    local = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1)
    return np.array(camera.position), local @ camera.rotation


@pytest.mark.parametrize("angles", [{}, {"pitch": 0.2}, {"yaw": -0.3, "pitch": 0.1, "roll": 0.15}])
def test_the_ground_lies_where_rays_meet_it(materials: list[np.ndarray], angles: dict[str, float]) -> None:
    camera = make_camera(**angles)
    view = render(make_scene(materials), camera)
    origin, direction = rays(camera)
    with np.errstate(divide="ignore"):
        depth = np.where(direction[..., 1] < 0, -origin[1] / direction[..., 1], np.inf)
    near = depth < 0.95 * FAR
    np.testing.assert_allclose(view.depth[near], depth[near], rtol=1e-4)
    assert np.isnan(view.depth[~(depth < FAR * 1.05)]).all()
    hit = origin + direction * np.where(np.isfinite(depth), depth, 0)[..., None]
    clear = 0.12 * np.maximum(depth, 1.0) / 3  # away from the strip's edge by more than a pixel
    inside = (
        near & (np.abs(hit[..., 0]) < 0.5 - clear) & (hit[..., 2] > 2 + clear) & (hit[..., 2] < 9 - clear)
    )
    outside = near & (
        (np.abs(hit[..., 0]) > 0.5 + clear) | (hit[..., 2] < 2 - clear) | (hit[..., 2] > 9 + 3 * clear)
    )
    assert inside.sum() > 100
    assert (view.labels[inside] == 1).all()
    assert (view.labels[outside] == 0).all()


def trace_box(camera: Camera, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(H, W) camera depth at which each ray enters an axis-aligned box, inf where it misses (slab method)."""
    origin, direction = rays(camera)
    with np.errstate(divide="ignore"):
        first, second = (low - origin) / direction, (high - origin) / direction
    entry = np.minimum(first, second).max(axis=-1)
    leave = np.maximum(first, second).min(axis=-1)
    return np.where((entry < leave) & (entry > 0), entry, np.inf)


@pytest.mark.parametrize("angles", [{}, {"yaw": 0.25, "pitch": 0.15, "roll": -0.1}])
def test_a_box_has_the_depth_and_the_outline_of_a_traced_one(
    materials: list[np.ndarray], angles: dict[str, float]
) -> None:
    camera = make_camera(**angles)
    gray = plain((120, 120, 120))
    position = (1.1, 0.0, 5.0)
    thing = Thing(CAR, position, box((1.6, 1.2, 2.4), gray, gray, gray), 1.6, 1.2, 2.4)
    view = render(make_scene(materials, thing), camera)
    center = np.array(position)
    traced = trace_box(camera, center - [0.8, 0, 1.2], center + [0.8, 1.2, 1.2])
    hit = np.isfinite(traced)
    drawn = view.labels == CAR
    assert (hit != drawn).sum() <= 0.01 * hit.sum()
    both = hit & drawn
    assert both.sum() > 300
    np.testing.assert_allclose(view.depth[both], traced[both], rtol=1e-3)


def test_the_nearer_thing_hides_the_farther_whatever_their_order(materials: list[np.ndarray]) -> None:
    gray = plain((90, 90, 90))
    near = Thing(PERSON, (0.2, 0.0, 3.0), (upright(gray, 0.6, 1.8),), 0.6, 1.8)
    far = Thing(CAR, (0.2, 0.0, 6.0), (upright(gray, 3.0, 1.5),), 3.0, 1.5)
    one, two = (render(make_scene(materials, *order), make_camera()) for order in ((near, far), (far, near)))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.labels[44, 60] == PERSON
    assert one.depth[44, 60] == pytest.approx(3.0)
    assert (one.labels == CAR).sum() > 100


def test_a_hole_in_a_picture_shows_what_is_behind_it(materials: list[np.ndarray]) -> None:
    image = np.full((32, 32, 4), 255, np.uint8)
    image[8:24, 8:24, 3] = 0
    thing = Thing(PERSON, (0.2, 0.0, 2.0), (upright(Texture(image), 1.0, 1.0),), 1.0, 1.0)
    view = render(make_scene(materials, thing), make_camera(pitch=0.35))
    column = view.labels[:, 60]
    rows = np.flatnonzero(column == PERSON)
    inner = column[rows[0] : rows[-1]]
    assert set(np.unique(inner)) == {0, 1, PERSON} or set(np.unique(inner)) == {1, PERSON}
    assert (np.diff((inner == PERSON).astype(int)) != 0).sum() == 2


def test_a_thing_across_the_near_plane_is_cut_not_lost(materials: list[np.ndarray]) -> None:
    gray = plain((90, 90, 90))
    wall = Thing(CAR, (-1.0, 0.0, 4.0), box((0.2, 3.0, 12.0), gray, gray, gray), 0.2, 3.0, 12.0)
    view = render(make_scene(materials, wall), make_camera())
    assert (view.labels[:, 0] == CAR).all()
    left = view.depth[44, :30]
    x = (np.arange(30) - 60.3) / 90.0
    np.testing.assert_allclose(left, (-0.9 - 0.2) / x, rtol=1e-3)


def test_billboards_turn_to_the_viewer_and_pairs_share_one(materials: list[np.ndarray]) -> None:
    thing = Thing(PERSON, (3.0, 0.0, 3.0), (upright(plain((9, 9, 9)), 0.8, 1.7),), 0.8, 1.7, billboard=True)
    _, right, _ = thing.placed((0.0, 1.0, 0.0))
    toward = np.array([3.0, 0.0, 3.0])
    assert right[0] @ toward == pytest.approx(0.0, abs=1e-9)
    camera = make_camera(yaw=0.6)
    left = render(make_scene(materials, thing), camera)
    shifted = camera.shifted(0.1)
    pair = render(make_scene(materials, thing), shifted, viewer=camera.position)
    person = left.labels == PERSON
    disparity = camera.fx * 0.1 * left.inverse_depth[person]
    rows, columns = np.nonzero(person)
    moved = np.rint(columns - disparity).astype(int)
    assert (pair.labels[rows, moved] == PERSON).mean() > 0.93


def test_what_has_no_class_hides_without_a_label(materials: list[np.ndarray]) -> None:
    thing = Thing(IGNORE, (0.2, 0.0, 3.0), (upright(plain((9, 9, 9)), 1.0, 1.0),), 1.0, 1.0)
    view = render(make_scene(materials, thing), make_camera())
    assert view.labels[60, 60] == IGNORE
    assert view.depth[60, 60] == pytest.approx(3.0)
