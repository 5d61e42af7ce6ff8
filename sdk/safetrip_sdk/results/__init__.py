"""Results that a robot can act on: nearest obstacles by sector, free way ahead, labelled points."""

from __future__ import annotations

from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics
from safetrip_sdk.results.hazards import Hazard, find_hazards
from safetrip_sdk.results.points import LabelledPoints, to_points
from safetrip_sdk.results.walkable import Walkable, find_walkable

__all__ = [
    "CameraIntrinsics",
    "Hazard",
    "LabelledPoints",
    "Walkable",
    "find_hazards",
    "find_walkable",
    "to_points",
]
