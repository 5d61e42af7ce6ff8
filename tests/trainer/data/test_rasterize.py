from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.cvat import Polygon
from safetrip_trainer.data.rasterize import rasterize


def square(label: int, low: float, high: float, z_order: int = 0) -> Polygon:
    points = np.array([[low, low], [high, low], [high, high], [low, high]], np.float32)
    return Polygon(label, points, z_order)


@pytest.mark.parametrize(("low", "high"), [(2, 5), (1.6, 5.4), (2.4, 4.6)])
def test_the_boundary_belongs_to_the_polygon(low: float, high: float) -> None:
    mask = rasterize([square(3, low, high)], 8, 8)
    expected = np.full((8, 8), IGNORE, np.uint8)
    expected[2:6, 2:6] = 3
    np.testing.assert_array_equal(mask, expected)


def test_the_higher_z_order_lies_on_top_whatever_the_document_order() -> None:
    small_on_top = [square(7, 3, 4, z_order=9), square(1, 0, 7, z_order=2)]
    mask = rasterize(small_on_top, 8, 8)
    assert (mask[3:5, 3:5] == 7).all()
    assert mask[0, 0] == 1
    large_on_top = [square(7, 3, 4, z_order=1), square(1, 0, 7, z_order=2)]
    assert (rasterize(large_on_top, 8, 8) == 1).all()


def test_of_equal_z_order_the_later_lies_on_top() -> None:
    assert rasterize([square(1, 0, 7), square(2, 0, 7)], 8, 8)[4, 4] == 2
    assert rasterize([square(2, 0, 7), square(1, 0, 7)], 8, 8)[4, 4] == 1


def test_what_lies_outside_the_image_is_cut_off() -> None:
    assert (rasterize([square(5, -20, 40)], 8, 8) == 5).all()
    assert (rasterize([square(5, 20, 40)], 8, 8) == IGNORE).all()


def _distance_and_inside(points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference without cv2: each pixel's distance to the outline, and the even-odd rule."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    distance = np.full((size, size), np.inf)
    inside = np.zeros((size, size), bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0)):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1) if length else 0.0
        distance = np.minimum(distance, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        if ay != by:
            crosses = (ay > y) != (by > y)
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return distance, inside


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 23), st.integers(0, 23)), min_size=3, max_size=8))
def test_agrees_with_the_even_odd_rule_away_from_the_outline(corners: list[tuple[int, int]]) -> None:
    points = np.array(corners, np.float32)
    drawn = rasterize([Polygon(4, points)], 24, 24) == 4
    distance, inside = _distance_and_inside(points.astype(float), 24)
    clear = distance > 1.0
    np.testing.assert_array_equal(drawn[clear], inside[clear])
    assert drawn[distance == 0].all()
