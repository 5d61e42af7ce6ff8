"""A pinhole camera over the ground plane.

World: x right, y up, z forward along the street, metres, ground at y = 0. Camera: x right, y down, z along
the optical axis; depth is the camera's z. A pixel's centre has whole-numbered coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

__all__ = ["NEAR", "Camera", "clip_polygon"]

NEAR = 0.3
"""Metres; nothing nearer than this is drawn."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels; `position` in the world; `yaw` to the right, `pitch` down, `roll`, in radians."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    position: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    @cached_property
    def matrix(self) -> np.ndarray:
        """(3, 3) float64 K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3) float64: world direction -> camera direction."""
        sin, cos = math.sin, math.cos
        yaw = np.array([[cos(self.yaw), 0, -sin(self.yaw)], [0, 1, 0], [sin(self.yaw), 0, cos(self.yaw)]])
        flip = np.diag([1.0, -1.0, 1.0])
        pitch = np.array(
            [[1, 0, 0], [0, cos(self.pitch), -sin(self.pitch)], [0, sin(self.pitch), cos(self.pitch)]]
        )
        roll = np.array(
            [[cos(self.roll), -sin(self.roll), 0], [sin(self.roll), cos(self.roll), 0], [0, 0, 1]]
        )
        rotation: np.ndarray = roll @ pitch @ flip @ yaw
        return rotation

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world points -> (..., 3) camera points."""
        local: np.ndarray = (points - np.asarray(self.position)) @ self.rotation.T
        return local

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera points with z > 0 -> (..., 2) pixels."""
        scale = np.array([self.fx, self.fy])
        pixels: np.ndarray = points[..., :2] / points[..., 2:] * scale + np.array([self.cx, self.cy])
        return pixels

    def shifted(self, distance: float) -> Camera:
        """The same camera `distance` metres further along its own x axis: a stereo pair's right camera."""
        moved = np.asarray(self.position) + self.rotation[0] * distance
        return replace(self, position=(float(moved[0]), float(moved[1]), float(moved[2])))

    def visible_part(self, points: np.ndarray) -> np.ndarray:
        """A polygon's (n, 3) camera points, cut to what lies before the camera and near the field of view."""
        points = clip_polygon(points, np.array([0.0, 0.0, 1.0]), NEAR)
        half = 1.1 * max(self.cx, self.width - self.cx) / self.fx
        for side in (1.0, -1.0):
            points = clip_polygon(points, np.array([side, 0.0, half]), 0.0)
        return points


def clip_polygon(points: np.ndarray, normal: np.ndarray, offset: float) -> np.ndarray:
    """The part of an (n, 3) polygon where points . normal >= offset (Sutherland-Hodgman, one plane)."""
    if len(points) == 0:
        return points
    distance = points @ normal - offset
    inside = distance >= 0
    if inside.all():
        return points
    following = np.roll(points, -1, axis=0)
    next_distance = np.roll(distance, -1)
    crosses = inside != (next_distance >= 0)
    share = np.where(crosses, distance / np.where(crosses, distance - next_distance, 1.0), 0.0)
    cuts = points + share[:, None] * (following - points)
    both = np.stack([points, cuts], axis=1).reshape(-1, 3)
    kept: np.ndarray = both[np.stack([inside, crosses], axis=1).reshape(-1)]
    return kept
