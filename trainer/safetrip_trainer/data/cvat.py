"""CVAT-for-images 1.1 XML -> polygons with class ids.

A bad polygon or image is reported and left out; only a file that is no CVAT XML at all is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path, PurePosixPath

import numpy as np

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.cvat_xml import WrittenImage, written_images
from safetrip_trainer.data.problems import Problem

__all__ = ["AnnotatedImage", "Annotations", "Polygon", "parse_cvat", "parse_fixed_points", "parse_points"]

_CLASS_IDS = {name: index for index, name in enumerate(CLASS_NAMES)}
_SHAPES = frozenset({"box", "polyline", "points", "cuboid", "skeleton", "ellipse", "mask"})
# CVAT lets a point lie somewhat outside its image; a point many images away is a mistake, and would overflow
# the rasteriser's fixed-point coordinates.
_MAX_OUTSIDE = 4.0
_MOST_DIGITS = 12


@dataclass(frozen=True, eq=False)
class Polygon:
    """`points` (n, 2) float32 x, y in pixels, n >= 3; `label` a class id; higher `z_order` is on top."""

    label: int
    points: np.ndarray
    z_order: int = 0


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """The usable polygons of one image, in document order; `name` is the file's name without folders."""

    name: str
    width: int
    height: int
    polygons: tuple[Polygon, ...]


@dataclass
class Annotations:
    """One XML file: its images by name, what was left out and why, and what was dropped by design.

    `dropped` counts per image name: labels outside the 24 ("label cat") and shapes that are no polygons
    ("shape box").
    """

    images: dict[str, AnnotatedImage] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    file_problems: list[Problem] = field(default_factory=list)


def parse_cvat(path: Path) -> Annotations:
    """Read one annotation file, of which no more than one image's elements are in memory at a time.

    Raises DatasetError as `written_images` does.
    """
    annotations = Annotations()
    for image in written_images(path):
        _add_image(annotations, image, path)
    return annotations


def _add_image(annotations: Annotations, image: WrittenImage, path: Path) -> None:
    name = PurePosixPath(image.attributes.get("name", "").replace("\\", "/")).name
    if not name:
        annotations.file_problems.append(Problem(str(path), "an <image> without a name"))
        return
    reasons = annotations.problems.setdefault(name, [])
    if name in annotations.images:
        reasons.append(f"annotated twice in {path.name}; the first is used")
        return
    try:
        width, height = (_positive(image.attributes, key) for key in ("width", "height"))
    except ValueError as error:
        reasons.append(f"{path.name}: {error}")
        return
    known = []
    dropped = annotations.dropped.setdefault(name, Counter())
    for number, (tag, shape) in enumerate(image.shapes):
        if tag in _SHAPES:
            dropped[f"shape {tag}"] += 1
        elif tag == "polygon":
            label = shape.get("label", "")
            if label in _CLASS_IDS:
                known.append((number, label, shape))
            else:
                dropped[f"label {label or '(none)'}"] += 1
    polygons = []
    texts = [shape.get("points", "") for _, _, shape in known]
    together = parse_fixed_points(texts, width, height)
    for place, (number, label, shape) in enumerate(known):
        try:
            points = together[place] if together else parse_points(texts[place], width, height)
            polygons.append(Polygon(_CLASS_IDS[label], points, _z_order(shape)))
        except ValueError as error:
            reasons.append(f"{path.name}: shape {number} ({label}): {error}; polygon left out")
    annotations.images[name] = AnnotatedImage(name, width, height, tuple(polygons))


def _positive(attributes: dict[str, str], key: str) -> int:
    text = attributes.get(key, "")
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise ValueError(f"{key}={text!r} is no positive whole number")
    return value


def _z_order(attributes: dict[str, str]) -> int:
    text = attributes.get("z_order", "0")
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"z_order={text!r} is no whole number") from None


def _outside(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """(n,) whether a point lies far outside the image, or nowhere (NaN)."""
    size = np.array([width, height])
    near: np.ndarray = np.abs(points - size / 2) <= _MAX_OUTSIDE * size
    return np.logical_not(near.all(axis=1))


def parse_fixed_points(texts: Sequence[str], width: int, height: int) -> list[np.ndarray] | None:
    """`parse_points` of all of an image's polygons at once; None unless each is good and as CVAT writes it.

    CVAT writes two decimals ("12.00,7.50"), so that the bytes can be added up in columns: an image has
    thousands of points, and a call of `float` for each of them costs more than all the rest of its XML.
    """
    data = np.frombuffer(";".join([*texts, ""]).encode(), np.uint8)
    ends = np.flatnonzero((data == ord(",")) | (data == ord(";")))
    lengths = np.diff(ends, prepend=-1) - 1
    if not ends.size or ends.size % 2 or lengths.min() < 4 or lengths.max() > _MOST_DIGITS:
        return None
    digits = data - np.uint8(ord("0"))
    regular = (
        (data[ends[0::2]] == ord(",")).all()
        and (data[ends[1::2]] == ord(";")).all()
        and (data[ends - 3] == ord(".")).all()
        and np.count_nonzero(digits < 10) == data.size - 2 * ends.size
    )
    if not regular:
        return None
    hundredths = digits[ends - 1] + 10 * digits[ends - 2].astype(np.int64)
    for place in range(4, int(lengths.max()) + 1):
        digit = np.where(lengths >= place, digits[ends - place], np.uint8(0))
        hundredths += digit.astype(np.int64) * 10 ** (place - 2)
    points = (hundredths / 100).reshape(-1, 2)
    counts = [text.count(";") + 1 for text in texts]
    # None lies below 0, so that the largest x and y tell; numpy takes 20 times as long over both at once.
    largest = np.array([[points[:, 0].max(), points[:, 1].max()]])
    if min(counts) < 3 or _outside(largest, width, height).any():
        return None
    every, ends_at = points.astype(np.float32), list(accumulate(counts))
    return [every[end - count : end] for count, end in zip(counts, ends_at)]


def parse_points(text: str, width: int, height: int) -> np.ndarray:
    """`"x,y;x,y;..."` -> (n, 2) float32; ValueError for < 3 points, non-numbers, NaN or far outside."""
    points = _numbers(text)
    if len(points) < 3:
        raise ValueError(f"{len(points)} point(s), a polygon needs 3")
    outside = _outside(points, width, height)
    if outside.any():
        bad = points[int(outside.argmax())]
        where = (
            "is not finite" if not np.isfinite(bad).all() else f"lies far outside the {width}x{height} image"
        )
        raise ValueError(f"point '{bad[0]:g},{bad[1]:g}' {where}")
    return points.astype(np.float32)


def _numbers(text: str) -> np.ndarray:
    """(n, 2) float64 of "x,y;x,y"; ValueError naming the pair that is none."""
    pairs = [pair for pair in text.split(";") if pair.strip()]
    if all(pair.count(",") == 1 for pair in pairs):
        try:
            return np.array([*map(float, ",".join(pairs).split(","))] if pairs else []).reshape(-1, 2)
        except ValueError:
            pass  # the culprit is found below
    for pair in pairs:
        try:
            _, _ = map(float, pair.split(","))
        except ValueError:
            raise ValueError(f"point {pair!r} is not 'x,y'") from None
    raise AssertionError(f"points {text!r} are and are not numbers")
