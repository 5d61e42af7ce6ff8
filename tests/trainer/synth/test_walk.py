from __future__ import annotations

import numpy as np
import pytest

from safetrip_trainer.classes import CLASS_NAMES, IGNORE, NUM_CLASSES
from safetrip_trainer.synth import render_sequence
from safetrip_trainer.synth.furniture import FURNITURE
from safetrip_trainer.synth.textures import MATERIALS, make_materials
from safetrip_trainer.synth.traffic import TRAFFIC
from safetrip_trainer.synth.walk import Walk

SIZE = (240, 136)


def test_frames_have_the_types_they_promise() -> None:
    (frame,) = render_sequence(3, 1, SIZE)
    assert frame.image.shape == (136, 240, 3)
    assert frame.image.dtype == np.uint8
    assert frame.labels.dtype == np.uint8
    assert frame.depth.dtype == np.float32
    assert set(np.unique(frame.labels)) <= {*range(NUM_CLASSES), IGNORE}
    assert np.nanmin(frame.depth) > 0.29
    assert (frame.camera.width, frame.camera.height) == SIZE


def test_a_seed_is_a_walk_and_another_is_another() -> None:
    one, again, other = (next(render_sequence(seed, 2, SIZE)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.depth, again.depth)
    assert (one.image != other.image).mean() > 0.5
    assert one.camera.position[1] != other.camera.position[1]


def test_the_walk_moves_on() -> None:
    walk = Walk(5, 4, SIZE)
    z = [walk.camera(number).position[2] for number in range(4)]
    np.testing.assert_allclose(np.diff(z), walk.step)
    assert (walk.frame(0).labels != walk.frame(3).labels).mean() > 0.02


def test_a_few_walks_show_every_class() -> None:
    seen = set()
    for seed in range(4):
        labels, counts = np.unique(next(render_sequence(seed, 1, SIZE)).labels, return_counts=True)
        seen |= {int(label) for label, count in zip(labels, counts) if count >= 12}
    assert {CLASS_NAMES[label] for label in range(NUM_CLASSES) if label not in seen} == set()


def test_there_is_a_maker_for_every_obstacle() -> None:
    assert set(FURNITURE) | set(TRAFFIC) == set(CLASS_NAMES[6:])
    assert not set(FURNITURE) & set(TRAFFIC)


@pytest.mark.parametrize("name", [*FURNITURE, *TRAFFIC])
def test_things_stand_on_the_ground_with_their_own_label(name: str) -> None:
    things = (FURNITURE | TRAFFIC)[name](np.random.default_rng(2))
    labels = {thing.label for thing in things}
    assert CLASS_NAMES.index(name) in labels
    assert labels <= {CLASS_NAMES.index(name), IGNORE}
    main = next(thing for thing in things if thing.label != IGNORE)
    corner, right, down = main.placed((0.0, 1.0, -5.0))
    corners = np.concatenate([corner, corner + right, corner + down, corner + right + down])
    assert corners[:, 1].min() == pytest.approx(0.0, abs=0.3)
    assert corners[:, 1].max() < 8.0


def test_materials_are_seamless() -> None:
    """Both edges of a tile differ from each other no more than neighbouring rows within it do."""
    side = 64
    atlas = make_materials(np.random.default_rng(1), side)[0].astype(float)
    for number, name in enumerate(MATERIALS):
        tile = atlas[number * (side + 2) + 1 : (number + 1) * (side + 2) - 1, 1:-1]
        inner = np.abs(np.diff(tile, axis=0)).mean(axis=(1, 2)).max()
        assert np.abs(tile[0] - tile[-1]).mean() <= inner * 1.5 + 2, name
