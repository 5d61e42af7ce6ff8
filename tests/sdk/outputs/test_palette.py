"""Colours for eyes that see fewer of them: simulated, and measured as distances in CIE Lab.

The palette is the data set's. What must hold: the surfaces, whose order on the ground matters, can be told
apart with every kind of sight, and for those pairs of classes that cannot there is something beside colour.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Overlay, Prediction, Timing
from safetrip_trainer.classes import CLASS_NAMES, COLORS, SURFACES, class_infos

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
CLEAR = 12.0


def lab(rgb: NDArray[np.float64], sight: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB colours, (N, 3) of 0 to 255, as an eye sees them."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ sight.T, 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.072175],
            [0.0193339, 0.119192, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    cubic = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = cubic.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def distances(kind: str) -> NDArray[np.float64]:
    """Colour differences (CIE76) of all pairs of classes."""
    colours = lab(np.array(COLORS, np.float64), SIGHT[kind])
    return np.linalg.norm(colours[:, None] - colours[None], axis=2)


def test_lab_of_known_colours() -> None:
    known = lab(np.array([[255.0, 255, 255], [0, 0, 0], [255, 0, 0]]), SIGHT["usual"])
    np.testing.assert_allclose(known, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.05)
    # To a deuteranope these two are closer by far than to others.
    pair = np.array([[220.0, 60, 60], [140.0, 130, 40]])
    apart = [np.linalg.norm(np.subtract(*lab(pair, SIGHT[kind]))) for kind in ("usual", "deuteranopia")]
    assert apart[1] < apart[0] / 2


@pytest.mark.parametrize("kind", SIGHT)
def test_surfaces_can_be_told_apart_with_every_sight(kind: str) -> None:
    table = distances(kind)
    for first, second in itertools.combinations(range(len(SURFACES)), 2):
        if table[first, second] <= CLEAR:
            assert textured(first) != textured(second), (CLASS_NAMES[first], CLASS_NAMES[second])


def textured(index: int) -> bool:
    """Whether a surface of this class is drawn with more than one colour."""
    image = draw(np.full((40, 40), index, np.uint8))
    return len(np.unique(image.reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize("kind", SIGHT)
def test_what_colour_does_not_tell_apart_an_outline_or_a_name_does(kind: str) -> None:
    table = distances(kind)
    close = [
        (first, second)
        for first, second in itertools.combinations(range(len(COLORS)), 2)
        if table[first, second] < CLEAR
    ]
    if kind != "usual":
        assert close, "with 24 classes some pairs must be close: that is why there are outlines"
    for first, second in close:
        # A surface beside an obstacle: the outline. Two obstacles: both are outlined, and named.
        if second >= len(SURFACES):
            assert self_evident(first, second), (CLASS_NAMES[first], CLASS_NAMES[second])


def self_evident(first: int, second: int) -> bool:
    """Drawn side by side, the border between the two is white."""
    labels = np.full((40, 40), first, np.uint8)
    labels[:, 20:] = second
    return bool((draw(labels)[:, 20] == 255).all())


def draw(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The overlay alone."""
    depth = np.full(labels.shape, 5, np.float32)
    prediction = Prediction(labels, depth, None, CLASS_NAMES, 0, 0, Timing(0, 0, 0, 0, 0))
    overlay = Overlay(class_infos(), alpha=1.0, legend=False, depth=False)
    return overlay.draw(np.zeros((*labels.shape, 3), np.uint8), prediction)
