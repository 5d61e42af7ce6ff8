"""What of each region of a picture lies in each sector, and the depths there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetrip_sdk.results.regions import Runs, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ENOUGH", "ENOUGH_RUNS", "Part", "Parts", "find_parts"]

ENOUGH = 1024
"""Pixels that tell a part's distance: of a larger one only every second (third...) run is looked at..."""

ENOUGH_RUNS = 32
"""... but never fewer runs than that: two rows of a wide part are a thousand pixels and tell nothing."""


class Part(NamedTuple):
    """What of one region lies in one sector.

    Attributes:
        region: its number.
        size: pixels.
        least: metres, the least depth of its pixels that are looked at.
        runs: where its runs stand in `Parts.runs`.
        seen: where its pixels that are looked at stand in `Parts.pixels`.
    """

    region: int
    size: int
    least: float
    runs: slice
    seen: slice


class Parts(NamedTuple):
    """A picture's parts.

    Attributes:
        runs: region by region, in it sector by sector.
        pixels: flat indices of the pixels that are looked at, part by part.
        depths: metres, of `pixels`.
        by_sector: the parts in each sector, nearest first.
    """

    runs: Runs
    pixels: NDArray[np.intp]
    depths: NDArray[np.float32]
    by_sector: list[list[Part]]


def find_parts(runs: Runs, depth: NDArray[np.float32], sectors: int, least: float) -> Parts:
    """The parts of the regions of `runs`, of which there is at least one.

    Of a region that reaches over several sectors, slivers under `least` pixels are left out, but never its
    largest part.

    Args:
        runs: from `find_runs`.
        depth: (h * w,) metres.
        sectors: how many `runs` were cut into.
        least: pixels.
    """
    key = runs.region * sectors + runs.sector
    # Integers of two bytes numpy sorts by digits, some ten times as fast.
    order = np.argsort(key.astype(np.uint16) if key.max() < 1 << 16 else key, kind="stable")
    key, runs = key[order], runs.taken(order)
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    count = np.diff(first, append=key.size)
    size = np.add.reduceat(runs.length, first)
    region, sector = runs.region[first], runs.sector[first]
    largest = np.zeros(int(region[-1]) + 1, np.intp)
    np.maximum.at(largest, region, size)
    step = np.maximum(np.minimum(size // ENOUGH, count // ENOUGH_RUNS), 1)
    looked = ranges(np.zeros_like(first), count) % np.repeat(step, count) == 0
    pixels = ranges(runs.start[looked], runs.length[looked])
    depths = depth[pixels]
    seen = np.add.reduceat(runs.length * looked, first)
    end = np.cumsum(seen)
    nearest = np.fmin.reduceat(depths, end - seen)
    kept = np.flatnonzero((size >= least) | (size == largest[region]))
    kept = kept[np.argsort(nearest[kept], kind="stable")]
    by_sector: list[list[Part]] = [[] for _ in range(sectors)]
    columns = (sector, region, size, nearest, first, first + count, end - seen, end)
    rows = zip(*(column[kept].tolist() for column in columns))
    for of, number, pixels_in_all, metres, begin, stop, seen_from, seen_to in rows:
        runs_of, seen_of = slice(begin, stop), slice(seen_from, seen_to)
        by_sector[of].append(Part(number, pixels_in_all, metres, runs_of, seen_of))
    return Parts(runs, pixels, depths, by_sector)
