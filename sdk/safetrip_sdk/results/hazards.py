"""The nearest obstacle in each sector of the view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.regions import Runs, find_runs, pixels_of
from safetrip_sdk.results.sectors import sector_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["MIN_AREA", "PERCENTILE", "Hazard", "find_hazards"]

PERCENTILE = 5.0
"""Of a region's depths: its distance. The minimum would be one noisy pixel."""

MIN_AREA = 2e-4
"""Share of the view (52 pixels of 512x512) under which a region is noise; a pole at 20 m has thrice that."""

ENOUGH = 2048
"""Pixels that tell a region's distance: of a larger one only every second (third...) run is looked at."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """The nearest obstacle in one sector.

    Attributes:
        sector: 0-based, from the left.
        class_id, name: of the obstacle.
        distance: metres along the optical axis to its nearest part in the sector (5th percentile).
        bearing: radians to the right of the optical axis to that nearest part; None without intrinsics.
        box: left, top, right, bottom of the whole obstacle, as fractions of the view's width and height.
        size: metres, width and height of that box at `distance`; None without intrinsics.
        pixels: of the obstacle in this sector.
        confidence: 0 to 1, mean over those pixels; None where the model gives none.
    """

    sector: int
    class_id: int
    name: str
    distance: float
    bearing: float | None
    box: tuple[float, float, float, float]
    size: tuple[float, float] | None
    pixels: int
    confidence: float | None


def find_hazards(
    prediction: Prediction,
    table: ClassTable,
    intrinsics: CameraIntrinsics | None = None,
    sectors: int = 9,
    min_area: float = MIN_AREA,
    percentile: float = PERCENTILE,
) -> tuple[Hazard, ...]:
    """What `Prediction.hazards` does, for any class table.

    Args:
        prediction: labels and depth, (h, w).
        table: the model's classes.
        intrinsics: of the camera, in its own image size.
        sectors: side by side; equal angles with intrinsics, else equal numbers of columns.
        min_area: share of the view under which a connected region is taken for noise.
        percentile: of a region's depths that counts as its distance.

    Returns:
        At most one for each sector, from left to right; empty where no obstacle is in view.

    Raises:
        ValueError: a number of sectors or a percentile that makes no sense.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: want 0 to 100, not {percentile}")
    height, width = prediction.labels.shape
    camera = intrinsics.resized(height, width) if intrinsics else None
    edges = sector_edges(width, sectors, camera)
    runs = find_runs(prediction.labels, table.is_obstacle, edges)
    if not runs.start.size:
        return ()
    depth = np.ascontiguousarray(prediction.depth).ravel()
    finder = _Finder(prediction, depth, runs, percentile, camera)
    found = []
    for candidates in _parts_by_sector(runs, depth, sectors, min_area * depth.size):
        nearest = finder.nearest(candidates)
        if nearest is not None:
            found.append(finder.describe(nearest, table))
    return tuple(found)


def _parts_by_sector(
    runs: Runs, depth: NDArray[np.float32], sectors: int, min_pixels: float
) -> list[list[tuple[float, NDArray[np.intp]]]]:
    """For each sector its regions' parts: (least depth, run numbers), nearest first.

    Regions under `min_pixels` are left out. Of a region that reaches over several sectors, slivers under
    `min_pixels` are, too, but never its largest part.
    """
    area = np.bincount(runs.region, runs.length, minlength=runs.region.size)
    alive = np.flatnonzero(area[runs.region] >= min_pixels)
    result: list[list[tuple[float, NDArray[np.intp]]]] = [[] for _ in range(sectors)]
    if not alive.size:
        return result
    # One key for each part; sorted, a part's runs stand together.
    key = runs.region[alive] * sectors + runs.sector[alive]
    order = np.argsort(key, kind="stable")
    alive, key = alive[order], key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    pixels = np.add.reduceat(runs.length[alive], first)
    region, sector = np.divmod(key[first], sectors)
    largest = np.zeros(runs.region.size)
    np.maximum.at(largest, region, pixels)
    nearest = np.fmin.reduceat(_least_of_runs(runs, depth)[alive], first)
    groups = np.split(alive, first[1:])
    for index in np.argsort(nearest, kind="stable"):
        if pixels[index] >= min_pixels or pixels[index] == largest[region[index]]:
            result[sector[index]].append((float(nearest[index]), groups[index]))
    return result


def _least_of_runs(runs: Runs, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least depth of each run."""
    # reduceat wants begin, end, begin, end...; the pieces between the runs are thrown away.
    bounds = np.stack((runs.start, runs.start + runs.length), axis=1).ravel()
    if bounds[-1] == depth.size:
        bounds = bounds[:-1]
    least: NDArray[np.float32] = np.fmin.reduceat(depth, bounds)[::2]
    return least


class _Part(NamedTuple):
    """What of a region lies in one sector."""

    distance: float
    numbers: NDArray[np.intp]  # of its runs
    pixels: NDArray[np.intp]  # of the runs that were looked at
    depths: NDArray[np.float32]


@dataclass(frozen=True)
class _Finder:
    """One picture's regions and depths."""

    prediction: Prediction
    depth: NDArray[np.float32]
    runs: Runs
    percentile: float
    camera: CameraIntrinsics | None
    boxes: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def nearest(self, candidates: list[tuple[float, NDArray[np.intp]]]) -> _Part | None:
        """The nearest of a sector's parts; None where there is none."""
        best: _Part | None = None
        for least, numbers in candidates:
            # A percentile is never under the minimum: parts that begin behind the best one are behind it.
            if best is not None and least >= best.distance:
                break
            step = max(1, int(self.runs.length[numbers].sum()) // ENOUGH)
            pixels = pixels_of(self.runs, numbers[::step])
            depths = self.depth[pixels]
            rank = math.floor(self.percentile / 100 * (depths.size - 1))
            distance = float(np.partition(depths, rank)[rank])
            if math.isfinite(distance) and (best is None or distance < best.distance):
                best = _Part(distance, numbers, pixels, depths)
        return best

    def describe(self, part: _Part, table: ClassTable) -> Hazard:
        """The hazard of one part."""
        runs, camera = self.runs, self.camera
        distance, numbers, pixels, depths = part
        height, width = self.prediction.labels.shape
        class_id = int(runs.label[numbers[0]])
        left, top, right, bottom = self._box(int(runs.region[numbers[0]]), width)
        bearing = size = None
        if camera is not None:
            columns = pixels[depths <= distance] % width
            bearing = float(camera.bearing(float(columns.mean())))
            size = ((right - left) * distance / camera.fx, (bottom - top) * distance / camera.fy)
        confidence = self.prediction.confidence
        return Hazard(
            sector=int(runs.sector[numbers[0]]),
            class_id=class_id,
            name=table[class_id],
            distance=distance,
            bearing=bearing,
            box=(left / width, top / height, right / width, bottom / height),
            size=size,
            pixels=int(runs.length[numbers].sum()),
            confidence=None if confidence is None else _mean(confidence, pixels) / 255,
        )

    def _box(self, region: int, width: int) -> tuple[int, int, int, int]:
        """left, top, right, bottom of a region, in pixels; right and bottom are one past the last."""
        if region not in self.boxes:
            self.boxes[region] = self._measure(region, width)
        return self.boxes[region]

    def _measure(self, region: int, width: int) -> tuple[int, int, int, int]:
        runs = self.runs
        inside = runs.region == region
        start = runs.start[inside]
        left = start % width
        right = left + runs.length[inside]
        return int(left.min()), int(start[0] // width), int(right.max()), int(start[-1] // width) + 1


def _mean(values: NDArray[np.uint8], pixels: NDArray[np.intp]) -> float:
    return float(values.ravel()[pixels].sum(dtype=np.int64)) / pixels.size
