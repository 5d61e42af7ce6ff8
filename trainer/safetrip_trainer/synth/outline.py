"""A rendered label map -> polygons that draw it again, as an annotator would have drawn them in CVAT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.classes import IGNORE

__all__ = ["Outline", "outline_instances", "outline_labels"]

_MIN_PIXELS = 6


@dataclass(frozen=True, eq=False)
class Outline:
    """`points` (n, 2) int32 boundary pixels x, y of one connected piece; `area` in pixels, holes filled.

    `occluded`: its thing is seen in several pieces, or through a hole.
    """

    label: int
    points: np.ndarray
    area: int
    occluded: bool = False


def outline_labels(labels: np.ndarray) -> list[Outline]:
    """Pieces of a (H, W) uint8 map, every connected area of a class for itself, the largest first."""
    pieces: list[Outline] = []
    for label in np.unique(labels):
        if label != IGNORE:
            pieces += _pieces((labels == label).astype(np.uint8), int(label), labels != IGNORE)
    return _largest_first(pieces)


def outline_instances(labels: np.ndarray, instances: np.ndarray) -> list[Outline]:
    """Pieces of a (H, W) uint8 map, every (H, W) instance for itself, the largest first."""
    pieces: list[Outline] = []
    annotated = labels != IGNORE
    for number in np.unique(instances[annotated]):
        mask = annotated & (instances == number)
        label = int(labels[mask][0])
        pieces += _pieces(mask.astype(np.uint8), label, annotated)
    return _largest_first(pieces)


def _largest_first(pieces: list[Outline]) -> list[Outline]:
    """By falling area: a piece that lies in another's hole then has the higher z_order, and covers it."""
    return sorted(pieces, key=lambda piece: -piece.area)


def _pieces(mask: np.ndarray, label: int, annotated: np.ndarray) -> Iterator[Outline]:
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    # A frame of background, so that a ray through the mask always ends.
    mask = cv2.copyMakeBorder(mask[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    annotated = cv2.copyMakeBorder(
        annotated[window].astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [number for number in range(len(contours)) if hierarchy[0, number, 3] < 0]
    pieces = []
    for number in outer:
        holes = [contours[child][:, 0] for child in _children(hierarchy, number)]
        points, area = _with_holes(mask, annotated, contours[number][:, 0], holes)
        if len(points) < 3:  # a row of pixels: CVAT wants three points
            points = np.resize(points, (3, 2))
        if area >= _MIN_PIXELS:
            pieces.append((points + np.array([x - 1, y - 1], np.int32), area, bool(holes)))
    for points, area, holed in pieces:
        yield Outline(label, points, area, holed or len(pieces) > 1)


def _children(hierarchy: np.ndarray, number: int) -> Iterator[int]:
    child = int(hierarchy[0, number, 2])
    while child >= 0:
        yield child
        child = int(hierarchy[0, child, 0])


def _with_holes(
    mask: np.ndarray, annotated: np.ndarray, outer: np.ndarray, holes: list[np.ndarray]
) -> tuple[np.ndarray, int]:
    """One closed line around a piece and its holes, and the pixels within its outer boundary.

    CVAT polygons have no holes. Where all of a hole is annotated, what lies in it is drawn on top and nothing
    is to be done; otherwise the line goes through the piece to the hole, around it and back (a keyhole).
    """
    filled = np.zeros_like(mask)
    cv2.fillPoly(filled, [outer], 1)
    area = int(filled.sum())
    open_holes = []
    for hole in holes:
        inside = np.zeros_like(mask)
        cv2.fillPoly(inside, [hole], 1)
        inside &= 1 - mask
        if (inside & (1 - annotated)).any() or _leaks(inside, mask):
            filled &= 1 - inside
            open_holes.append(hole)
    line = outer
    # From left to right: the ray to the left of a hole then ends at the outer line or a hole already in it.
    for hole in sorted(open_holes, key=lambda points: int(points[:, 0].min())):
        line = _keyhole(filled, line, hole)
    return line, area


def _leaks(inside: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a hole meets the outside corner to corner: what lies in it may be part of a larger piece."""
    around = cv2.dilate(inside, np.ones((3, 3), np.uint8)) & (1 - inside)
    return bool((around & (1 - mask)).any())


def _keyhole(filled: np.ndarray, line: np.ndarray, hole: np.ndarray) -> np.ndarray:
    start = int(hole[:, 0].argmin())
    x, y = hole[start]
    background = np.flatnonzero(filled[y, :x] == 0)
    gate = np.array([background[-1] + 1, y], hole.dtype)
    following = np.roll(line, -1, axis=0)
    low, high = np.minimum(line, following), np.maximum(line, following)
    edge, reach = following - line, gate - line
    on_line = (edge[:, 0] * reach[:, 1] == edge[:, 1] * reach[:, 0]) & ((gate >= low) & (gate <= high)).all(
        axis=1
    )
    at = int(np.flatnonzero(on_line)[0]) + 1
    around = np.roll(hole, -start, axis=0)
    return np.concatenate([line[:at], gate[None], around, around[:1], gate[None], line[at:]])
