"""Connected regions of equal labels, found on runs of pixels instead of pixels.

A row of labels is a sequence of runs; two runs are neighbours when they overlap in adjacent rows. Union-find
on the graph of runs, by hooking and pointer jumping (Shiloach and Vishkin, 1982), with whole arrays at a
time: a picture has some thousand runs where it has a quarter of a million pixels. What is done by pixel is
comparing bytes, and pixels without a neighbour of their label are out before anything is counted: most noise
is of that kind.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Runs", "find_runs", "ranges"]


class Runs(NamedTuple):
    """Horizontal runs of equal labels, cut at the sectors' edges; arrays of one length.

    Attributes:
        start: first pixel, index into the flattened labels.
        length: pixels.
        label: class id.
        sector: 0-based, from the left.
        region: 0-based; the same number for runs that are connected (4-neighbourhood).
    """

    start: NDArray[np.intp]
    length: NDArray[np.intp]
    label: NDArray[np.uint8]
    sector: NDArray[np.intp]
    region: NDArray[np.intp]

    def taken(self, order: NDArray[np.intp]) -> Runs:
        """These of the runs, in this order."""
        start, length, label, sector, region = self
        return Runs(start[order], length[order], label[order], sector[order], region[order])


def find_runs(
    labels: NDArray[np.uint8], wanted: NDArray[np.bool_], edges: NDArray[np.intp], least: float = 1
) -> Runs:
    """The runs of wanted labels that belong to regions of at least so many pixels.

    Args:
        labels: (h, w) uint8.
        wanted: (256,) bool by label.
        edges: columns at which runs are cut, from `sector_edges`.
        least: pixels of a region.
    """
    labels = np.ascontiguousarray(labels)
    width = labels.shape[1]
    inside, same, below = _neighbours(labels, wanted, alone=least <= 1)
    # Where runs begin, and where they end with nothing wanted behind. In booleans, a > b is "a and not b".
    cut = inside > same
    flat = inside.ravel()
    cut.ravel()[1:] |= flat[:-1] > flat[1:]
    cuts = np.flatnonzero(cut)
    if not cuts.size:
        nothing = np.zeros(0, np.intp)
        return Runs(nothing, nothing, np.zeros(0, np.uint8), nothing, nothing)
    begins = flat[cuts]
    bounds, first = np.append(cuts, labels.size), np.flatnonzero(begins)
    start, end = bounds[first], bounds[first + 1]
    # Two rows' runs that overlap do so first where one of them begins: there stands one pair of each.
    below &= inside[1:]
    below &= cut[1:] | cut[:-1]
    upper = np.flatnonzero(below)
    # Of each pixel from the first cut on, the number of the run it is in.
    number = np.repeat(np.cumsum(begins, dtype=np.int32), np.diff(bounds))
    upper -= cuts[0]
    above, under = number[upper].astype(np.intp) - 1, number[upper + width].astype(np.intp) - 1
    root = _components(start.size, under, above)
    area = np.bincount(root, end - start, minlength=start.size)
    alive = np.flatnonzero(area[root] >= least)
    region = np.zeros(start.size, np.intp)
    roots = np.flatnonzero(area >= max(least, 1))
    region[roots] = np.arange(roots.size)
    start, end, sector, region = _cut(start[alive], end[alive], region[root[alive]], edges, width)
    return Runs(start, end - start, labels.ravel()[start], sector, region)


def _neighbours(
    labels: NDArray[np.uint8], wanted: NDArray[np.bool_], alone: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Three masks: wanted pixels; (h, w) those equal to their left, (h - 1, w) to their lower neighbour.

    `alone`: whether pixels without an equal neighbour are wanted.
    """
    inside = _members(labels, wanted)
    same = np.empty(labels.shape, np.bool_)
    # Flat, the last of a row against the first of the next: quicker than row by row, and put right below.
    np.equal(labels.ravel()[1:], labels.ravel()[:-1], out=same.ravel()[1:])
    same[:, 0] = False
    below = labels[1:] == labels[:-1]
    if not alone:
        linked = same.copy()
        linked.ravel()[:-1] |= same.ravel()[1:]
        linked[1:] |= below
        linked[:-1] |= below
        inside &= linked
    return inside, same, below


def _members(labels: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where labels are wanted. By ranges of ids, mostly one: a tenth of what looking each pixel up costs."""
    bounds = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).reshape(-1, 2).tolist()
    # Ids under a range's lower bound wrap around to great ones.
    masks = [(labels - np.uint8(low)) <= np.uint8(high - low - 1) for low, high in bounds]
    return functools.reduce(np.logical_or, masks) if masks else np.zeros(labels.shape, np.bool_)


def _components(count: int, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """The least run number of each run's component, of pairs of neighbours."""
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


def _cut(
    start: NDArray[np.intp],
    end: NDArray[np.intp],
    region: NDArray[np.intp],
    edges: NDArray[np.intp],
    width: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """start, end, sector and region of runs cut where sectors end."""
    of_column = np.repeat(np.arange(edges.size - 1), np.diff(edges))
    row = start - start % width
    sector = of_column[start - row]
    more = of_column[end - 1 - row] - sector
    # Few runs reach over an edge: the first piece of those stays in place, the others go to the end.
    over = np.flatnonzero(more)
    from_ = np.repeat(over, more[over])
    rest = ranges(sector[over] + 1, more[over])
    begin = row[from_] + edges[rest]
    stop = np.minimum(end[from_], row[from_] + edges[rest + 1])
    end = end.copy()
    end[over] = row[over] + edges[sector[over] + 1]
    joined = ((start, begin), (end, stop), (sector, rest), (region, region[from_]))
    start, end, sector, region = (np.concatenate(pair) for pair in joined)
    return start, end, sector, region


def ranges(begin: NDArray[np.intp], count: NDArray[np.intp]) -> NDArray[np.intp]:
    """begin[0], begin[0] + 1, ... (count[0] of them, at least one), begin[1], ..."""
    total = np.cumsum(count)
    if not total.size:
        return np.zeros(0, np.intp)
    return np.arange(total[-1]) + np.repeat(begin - total + count, count)
