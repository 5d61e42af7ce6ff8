"""Connected regions of equal labels, found on runs of pixels instead of pixels.

A row of labels is a sequence of runs; two runs are neighbours when they overlap in adjacent rows (or touch
in one row, where a run was cut at a sector's edge). Union-find on the graph of runs, by hooking and pointer
jumping (Shiloach and Vishkin, 1982), with whole arrays at a time: a picture has some thousand runs where
it has a quarter of a million pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Runs", "find_runs", "pixels_of"]


class Runs(NamedTuple):
    """Horizontal runs of equal labels, in reading order; arrays of one length.

    Attributes:
        start: first pixel, index into the flattened labels.
        length: pixels.
        label: class id.
        sector: 0-based, from the left.
        region: the same number for runs that are connected (4-neighbourhood).
    """

    start: NDArray[np.intp]
    length: NDArray[np.intp]
    label: NDArray[np.uint8]
    sector: NDArray[np.intp]
    region: NDArray[np.intp]


def find_runs(labels: NDArray[np.uint8], wanted: NDArray[np.bool_], edges: NDArray[np.intp]) -> Runs:
    """The runs of wanted labels and their regions.

    Args:
        labels: (h, w) uint8.
        wanted: (256,) bool by label.
        edges: columns at which runs are cut, from `sector_edges`.
    """
    height, width = labels.shape
    cut = np.empty((height, width), np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=cut[:, 1:])
    cut[:, edges[:-1]] = True
    starts = np.flatnonzero(cut)
    label = labels.ravel()[starts]
    keep = wanted[label]
    ends = np.append(starts[1:], labels.size)
    start, end, label = starts[keep], ends[keep], label[keep]
    if not start.size:
        empty = np.zeros(0, np.intp)
        return Runs(empty, empty, label, empty, empty)
    sector = np.searchsorted(edges, start % width, side="right") - 1
    first, second = _neighbours(start, end, label, width)
    return Runs(start, end - start, label, sector, _components(start.size, first, second))


def _neighbours(
    start: NDArray[np.intp], end: NDArray[np.intp], label: NDArray[np.uint8], width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs with one label that share a border."""
    # The runs that overlap [start, end) one row up are neighbours in the list: from the first that ends
    # after `start - width` to the last that starts before `end - width`.
    low = np.searchsorted(end, start - width, side="right")
    count = np.searchsorted(start, end - width, side="left") - low
    np.maximum(count, 0, out=count)
    lower = np.repeat(np.arange(start.size), count)
    upper = _ranges(low, count)
    same = label[lower] == label[upper]
    beside = np.flatnonzero((end[:-1] == start[1:]) & (label[:-1] == label[1:]) & (start[1:] % width > 0))
    return np.concatenate((lower[same], beside + 1)), np.concatenate((upper[same], beside))


def _components(count: int, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """The least run number of each run's component."""
    root = np.arange(count)
    while first.size:
        low, high = np.minimum(first, second), np.maximum(first, second)
        # Where several pairs name one `high`, any of them may win: the rest come again in the next round.
        root[high] = low
        while not np.array_equal(shorter := root[root], root):
            root = shorter
        first, second = root[first], root[second]
        open_ = first != second
        first, second = first[open_], second[open_]
    return root


def _ranges(begin: NDArray[np.intp], count: NDArray[np.intp]) -> NDArray[np.intp]:
    """begin[0], begin[0] + 1, ... (count[0] of them), begin[1], ..."""
    total = np.cumsum(count)
    if not total.size:
        return np.zeros(0, np.intp)
    return np.arange(total[-1]) + np.repeat(begin - total + count, count)


def pixels_of(runs: Runs, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """The flat indices of the pixels of some runs, given by their numbers."""
    return _ranges(runs.start[chosen], runs.length[chosen])
