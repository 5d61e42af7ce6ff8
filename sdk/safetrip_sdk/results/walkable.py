"""Where there is ground to walk on, and how far it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.results.arguments import require
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.known_depth import known_depth
from safetrip_sdk.results.sectors import sector_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["CAUTION", "GUIDE", "WALKABLE", "Walkable", "find_walkable"]

WALKABLE = ("sidewalk", "alley", "braille_guide_blocks")
"""Surfaces to walk on. Roadways and bike lanes are not among them; a call may name others."""

GUIDE = ("braille_guide_blocks",)
CAUTION = ("caution_zone",)

GAP = 3
"""Rows: less than that in a column is a flaw of the labels, not the end of the way."""

BLOCKED_SHARE = 10.0
"""Percent of a sector's columns that may be blocked nearer than its free distance says."""


@dataclass(frozen=True, slots=True, eq=False)
class Walkable:
    """Ground to walk on.

    Attributes:
        mask: (h, w) bool, surfaces to walk on, braille blocks included, caution zones not.
        guide: (h, w) bool, braille blocks alone.
        caution: (h, w) bool, caution zones: steps, gratings, works.
        free: (sectors,) float32, metres along the optical axis that are walkable without a break from the
            lower edge of the view on; 0 where it is blocked at once, or ends at depth that is not finite.
        caution_ahead: (sectors,) float32, metres to the nearest caution zone; inf where there is none.
    """

    mask: NDArray[np.bool_]
    guide: NDArray[np.bool_]
    caution: NDArray[np.bool_]
    free: NDArray[np.float32]
    caution_ahead: NDArray[np.float32]


def find_walkable(
    prediction: Prediction,
    table: ClassTable,
    intrinsics: CameraIntrinsics | None = None,
    sectors: int = 9,
    surfaces: Sequence[str] = WALKABLE,
) -> Walkable:
    """What `Prediction.walkable` does, for any class table.

    A column's free way ends at the first `GAP` rows on end, seen from below, that are no walkable surface. A
    sector's is that of its columns which only a tenth fall short of: one flawed column stops nobody.

    Args:
        prediction: labels and depth, (h, w).
        table: the model's classes.
        intrinsics: of the camera, in its own image size; sectors are then equal angles.
        sectors: side by side.
        surfaces: names of what may be walked on.

    Raises:
        TypeError: an argument of another type.
        ValueError: none of `surfaces` is a surface of this model, or a number of sectors that makes no sense.
    """
    require("intrinsics", prediction=prediction, table=table, intrinsics=intrinsics)
    if isinstance(surfaces, str):
        raise TypeError(f"surfaces: want names, such as ({surfaces!r},), not one string")
    labels, depth = prediction.labels, known_depth(prediction)
    height, width = labels.shape
    ids = [index for index in table.ids_of(surfaces) if table.infos[index].kind == "surface"]
    if not ids:
        there = ", ".join(table[index] for index in table.ids("surface")) or "none"
        raise ValueError(
            f"walkable: none of {', '.join(surfaces)} is a surface of this model; it has: {there}"
        )
    camera = None if intrinsics is None else intrinsics.resized(height, width)
    edges = sector_edges(width, sectors, camera)
    mask = _mask(labels, ids)
    caution = _mask(labels, table.ids_of(CAUTION))
    columns = _free_by_column(mask, depth)
    free = [
        np.percentile(columns[begin:end], BLOCKED_SHARE, method="lower") for begin, end in pairwise(edges)
    ]
    return Walkable(
        mask=mask,
        guide=_mask(labels, table.ids_of(GUIDE)),
        caution=caution,
        free=np.array(free, np.float32),
        caution_ahead=_nearest(caution, depth, edges),
    )


def _mask(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Where the labels are one of a few ids; comparing is faster than looking each pixel up."""
    mask = np.zeros(labels.shape, np.bool_)
    for index in ids:
        mask |= labels == index
    return mask


def _free_by_column(mask: NDArray[np.bool_], depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(w,) metres: depth of the last row, seen from below, before a column's way ends."""
    height, width = mask.shape
    gap = min(GAP, height)
    blocked = ~mask[gap - 1 :]
    for shift in range(1, gap):
        blocked &= ~mask[gap - 1 - shift : height - shift]
    # From below: the row that begins the first break, counted from above; -1 where there is none.
    rows = blocked.shape[0]
    first = rows - 1 - np.argmax(blocked[::-1], axis=0)
    ends = np.where(blocked[first, np.arange(width)], first + gap - 1, -1)
    # Without a break it reaches the topmost row there is; a flaw of a row or two may lie above that.
    begins = np.where(ends < 0, np.argmax(mask, axis=0), ends + 1)
    # The way ends at a pixel that is walkable itself, or nowhere.
    columns = np.arange(width)
    inside = begins < height
    row = np.minimum(begins, height - 1)
    reached = inside & mask[row, columns]
    free: NDArray[np.float32] = np.where(reached, depth[row, columns], np.float32(0.0))
    return free


def _nearest(
    mask: NDArray[np.bool_], depth: NDArray[np.float32], edges: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(sectors,) metres: 5th percentile of the masked depths in each sector; inf without any."""
    found = np.full(edges.size - 1, np.inf, np.float32)
    if mask.any():
        for index, (begin, end) in enumerate(pairwise(edges)):
            depths = depth[:, begin:end][mask[:, begin:end]]
            if depths.size:
                rank = (depths.size - 1) // 20
                found[index] = np.partition(depths, rank)[rank]
    return found
