"""Pixels per class, and the weights that a rare class needs to be learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from safetrip_trainer.classes import NUM_CLASSES

__all__ = ["class_weights", "count_pixels", "total_pixels"]

_ENET_C = 1.02


def count_pixels(mask: np.ndarray) -> dict[int, int]:
    """Class id -> pixels, of the classes that occur in an (H, W) uint8 mask; 255 is not counted."""
    # By runs: polygons leave some thousand of them where a mask has millions of pixels.
    flat = mask.reshape(-1)
    starts = np.append(0, _changes(flat) + 1)
    counts = np.bincount(flat[starts], weights=np.diff(starts, append=flat.size), minlength=NUM_CLASSES)
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts[:NUM_CLASSES])}


def _changes(flat: np.ndarray) -> np.ndarray:
    """Indices whose value differs from the next one's, of an (n,) uint8 array.

    Eight comparisons are looked at as one word: nearly all are 0.
    """
    differs = np.empty(-(-flat.size // 8) * 8, bool)
    differs[flat.size - 1 :] = False
    np.not_equal(flat[1:], flat[:-1], out=differs[: flat.size - 1])
    words = differs.view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(bool))
    return some[inside >> 3] * 8 + (inside & 7)


def total_pixels(counts: Iterable[Mapping[int, int]]) -> np.ndarray:
    """(24,) int64: the sum of several images' counts."""
    total = np.zeros(NUM_CLASSES, dtype=np.int64)
    for count in counts:
        for index, pixels in count.items():
            total[index] += pixels
    return total


def class_weights(pixels: np.ndarray) -> np.ndarray:
    """(24,) float32 from (24,) pixel counts: w = 1 / ln(1.02 + p), p the class's share of labelled pixels.

    The formula of ENet (Paszke et al. 2016, section 5.2): unlike median-frequency balancing it is bounded (a
    class of a few pixels weighs 35 times one that fills every image, not thousands), so that a single small
    object cannot rule the gradient. Scaled to mean 1 over the classes that occur; a class that does not occur
    gets 1: no pixel carries its weight, and 0 would make a weighted mean over such pixels (from a teacher's
    labels) 0 / 0.
    """
    weights = np.ones(NUM_CLASSES, dtype=np.float64)
    present = pixels > 0
    if present.any():
        share = pixels[present] / pixels.sum()
        raw = 1.0 / np.log(_ENET_C + share)
        weights[present] = raw / raw.mean()
    return weights.astype(np.float32)
