"""The 24 classes of SafeTrip-Q: ids, names, kinds and colours.

Ids follow the data set's published class_info.json: surfaces first (0-5, annotated in `Surface/`), then
obstacles (6-23, annotated in `Polygon/`).
"""

from __future__ import annotations

import numpy as np

from safetrip_sdk.manifest import ClassInfo

__all__ = [
    "CLASS_NAMES",
    "COLORS",
    "IGNORE",
    "NUM_CLASSES",
    "OBSTACLES",
    "SURFACES",
    "class_infos",
    "class_kind",
    "color_map",
]

IGNORE = 255
"""Label of an unlabelled pixel: it takes part in no loss and no metric."""

SURFACES = ("sidewalk", "braille_guide_blocks", "roadway", "alley", "bike_lane", "caution_zone")
OBSTACLES = (
    "person",
    "car",
    "bus",
    "truck",
    "bicycle",
    "motorcycle",
    "stroller",
    "scooter",
    "tree_trunk",
    "potted_plant",
    "pole",
    "bench",
    "bollard",
    "barricade",
    "fire_hydrant",
    "kiosk",
    "power_controller",
    "traffic_light_controller",
)
CLASS_NAMES = SURFACES + OBSTACLES
NUM_CLASSES = len(CLASS_NAMES)

# RGB. Surfaces are muted and ordered by lightness (walkable is cool, roadway warm), so that obstacles,
# saturated, stand out; neighbours on a street differ in lightness too, for colour-blind viewers.
COLORS: tuple[tuple[int, int, int], ...] = (
    (86, 180, 233),
    (255, 221, 51),
    (102, 102, 110),
    (150, 140, 130),
    (0, 140, 110),
    (230, 126, 34),
    (220, 20, 60),
    (0, 50, 200),
    (60, 110, 255),
    (20, 30, 120),
    (190, 70, 255),
    (140, 0, 180),
    (255, 105, 180),
    (230, 160, 230),
    (110, 70, 30),
    (90, 170, 60),
    (250, 250, 250),
    (170, 110, 60),
    (255, 170, 0),
    (255, 85, 0),
    (255, 40, 40),
    (0, 200, 200),
    (120, 200, 160),
    (60, 150, 150),
)


def class_kind(class_id: int) -> str:
    """`"surface"` (something to walk or drive on) or `"obstacle"`."""
    return "surface" if class_id < len(SURFACES) else "obstacle"


def color_map() -> np.ndarray:
    """(256, 3) uint8 RGB, indexed by class id; ids without a class, 255 among them, are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:NUM_CLASSES] = COLORS
    return table


def class_infos() -> tuple[ClassInfo, ...]:
    """The 24 classes as a bundle's manifest lists them."""
    return tuple(ClassInfo(name, COLORS[index], class_kind(index)) for index, name in enumerate(CLASS_NAMES))
