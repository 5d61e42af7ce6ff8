"""Outlines drawn again must give the map they were taken from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.cvat import Polygon
from safetrip_trainer.data.rasterize import rasterize
from safetrip_trainer.synth import outline
from safetrip_trainer.synth.outline import Outline, outline_instances, outline_labels


def redraw(outlines: list[Outline], shape: tuple[int, ...]) -> np.ndarray:
    return rasterize([Polygon(item.label, item.points, order) for order, item in enumerate(outlines)], *shape)


@pytest.fixture
def every_speck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "_MIN_PIXELS", 1)


def empty(size: int = 40) -> np.ndarray:
    return np.full((size, size), IGNORE, np.uint8)


def test_an_open_hole_stays_open() -> None:
    labels = empty()
    labels[4:36, 4:36] = 0
    labels[10:20, 12:22] = IGNORE
    outlines = outline_labels(labels)
    assert len(outlines) == 1
    np.testing.assert_array_equal(redraw(outlines, labels.shape), labels)


def test_a_hole_filled_by_another_class_is_covered_by_z_order() -> None:
    labels = empty()
    labels[4:36, 4:36] = 0
    labels[10:20, 12:22] = 1
    first, second = outline_labels(labels)
    assert (first.label, second.label) == (0, 1)
    assert len(first.points) == 4
    np.testing.assert_array_equal(redraw([first, second], labels.shape), labels)


def test_holes_behind_holes_are_reached() -> None:
    labels = empty(60)
    labels[5:55, 5:55] = 3
    for left in (10, 20, 30, 40):
        labels[28:34, left : left + 5] = IGNORE
        labels[12:20, left + 2 : left + 6] = IGNORE
    np.testing.assert_array_equal(redraw(outline_labels(labels), labels.shape), labels)


def test_an_island_in_an_open_hole_is_drawn() -> None:
    labels = empty()
    cv2.circle(labels, (20, 20), 15, 2, -1)
    cv2.circle(labels, (20, 20), 10, int(IGNORE), -1)
    cv2.circle(labels, (20, 20), 4, 2, -1)
    np.testing.assert_array_equal(redraw(outline_labels(labels), labels.shape), labels)


def test_instances_of_one_class_stay_apart_and_occlusion_is_marked() -> None:
    labels, instances = empty(), np.full((40, 40), -1, np.int16)
    labels[5:30, 5:20], instances[5:30, 5:20] = 6, 0
    labels[5:30, 20:35], instances[5:30, 20:35] = 6, 1
    labels[12:18, 2:19], instances[12:18, 2:19] = 16, 2  # a bar across the first, which stays connected at 19
    labels[12:18, 19:20], instances[12:18, 19:20] = 16, 2  # and now falls apart
    outlines = outline_instances(labels, instances)
    assert sorted((item.label, item.occluded) for item in outlines) == [
        (6, False),
        (6, True),
        (6, True),
        (16, False),
    ]
    np.testing.assert_array_equal(redraw(outlines, labels.shape), labels)


def test_rows_of_pixels_have_three_points() -> None:
    labels = empty()
    labels[7, 3:30] = 4
    labels[20, 20] = 5  # a speck nobody would annotate
    (row,) = outline_labels(labels)
    assert row.points.shape == (3, 2)
    assert (redraw([row], labels.shape) == 4).sum() == 27


@pytest.mark.usefixtures("every_speck")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.0, 0.6))
def test_any_map_is_drawn_again(seed: int, classes: int, share: float) -> None:
    """Blobs of several classes, with holes, islands and touching corners."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (9, 9)).astype(np.uint8)
    coarse[rng.random((9, 9)) < share] = IGNORE
    labels = cv2.resize(coarse, (36, 36), interpolation=cv2.INTER_NEAREST)
    labels[rng.random((36, 36)) < 0.03] = IGNORE
    drawn = redraw(outline_labels(labels), labels.shape)
    np.testing.assert_array_equal(drawn, labels)
