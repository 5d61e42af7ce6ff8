"""The nearest obstacle in each sector of the view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.results.arguments import require
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.known_depth import known_depth
from safetrip_sdk.results.parts import Part, Parts, find_parts
from safetrip_sdk.results.regions import Runs, find_runs
from safetrip_sdk.results.sectors import sector_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["MIN_AREA", "PERCENTILE", "Hazard", "find_hazards"]

PERCENTILE = 5.0
"""Of a region's depths: its distance. The minimum would be one noisy pixel."""

MIN_AREA = 2e-4
"""Share of the view (52 pixels of 512x512) under which a region is noise; a pole at 20 m has thrice that."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """The nearest obstacle in one sector.

    Attributes:
        sector: 0-based, from the left.
        class_id, name: of the obstacle.
        distance: metres along the optical axis to its nearest part in the sector (5th percentile); 0 where
            the net gives no finite depth there.
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
        TypeError: an argument of another type.
        ValueError: a number of sectors or a percentile that makes no sense.
    """
    require("intrinsics", prediction=prediction, table=table, intrinsics=intrinsics)
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: want 0 to 100, not {percentile}")
    height, width = prediction.labels.shape
    camera = None if intrinsics is None else intrinsics.resized(height, width)
    edges = sector_edges(width, sectors, camera)
    least = min_area * prediction.labels.size
    runs = find_runs(prediction.labels, table.is_obstacle, edges, least)
    if not runs.start.size:
        return ()
    depth = np.ascontiguousarray(known_depth(prediction)).ravel()
    parts = find_parts(runs, depth, sectors, least)
    found = [_nearest(parts, sector, percentile) for sector in range(sectors)]
    nearest = [(sector, *item) for sector, item in enumerate(found) if item is not None]
    # An obstacle before several sectors is measured once.
    boxes = {part.region: _box(parts.runs, part.region, width) for _, part, _ in nearest}
    return tuple(
        _describe(prediction, table, camera, parts, sector, part, distance, boxes[part.region])
        for sector, part, distance in nearest
    )


def _nearest(parts: Parts, sector: int, percentile: float) -> tuple[Part, float] | None:
    """The nearest of a sector's parts, and its distance in metres; None where there is none."""
    best: tuple[Part, float] | None = None
    for part in parts.by_sector[sector]:
        # A percentile is never under the minimum: parts that begin behind the best one are behind it.
        if best is not None and part.least >= best[1]:
            break
        depths = parts.depths[part.seen]
        rank = math.floor(percentile / 100 * (depths.size - 1))
        distance = float(np.partition(depths, rank)[rank])
        if best is None or distance < best[1]:
            best = part, distance
    return best


def _describe(
    prediction: Prediction,
    table: ClassTable,
    camera: CameraIntrinsics | None,
    parts: Parts,
    sector: int,
    part: Part,
    distance: float,
    box: tuple[int, int, int, int],
) -> Hazard:
    """The hazard of one part; `box` is its region's, in pixels."""
    height, width = prediction.labels.shape
    pixels = parts.pixels[part.seen]
    class_id = int(parts.runs.label[part.runs.start])
    left, top, right, bottom = box
    bearing = size = None
    if camera is not None:
        columns = pixels[parts.depths[part.seen] <= distance] % width
        bearing = float(camera.bearing(float(columns.mean())))
        size = ((right - left) * distance / camera.fx, (bottom - top) * distance / camera.fy)
    confidence = prediction.confidence
    return Hazard(
        sector=sector,
        class_id=class_id,
        name=table[class_id],
        distance=distance,
        bearing=bearing,
        box=(left / width, top / height, right / width, bottom / height),
        size=size,
        pixels=part.size,
        confidence=None if confidence is None else _mean(confidence, pixels) / 255,
    )


def _box(runs: Runs, region: int, width: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a region, in pixels; right and bottom are one past the last.

    The runs stand region by region.
    """
    begin, end = np.searchsorted(runs.region, (region, region + 1))
    start = runs.start[begin:end]
    left = start % width
    right = left + runs.length[begin:end]
    return int(left.min()), int(start.min()) // width, int(right.max()), int(start.max()) // width + 1


def _mean(values: NDArray[np.uint8], pixels: NDArray[np.intp]) -> float:
    return float(values.ravel()[pixels].sum(dtype=np.int64)) / pixels.size
