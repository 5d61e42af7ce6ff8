"""The pinhole model of a camera: which pixel looks in which direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CameraIntrinsics"]


@dataclass(frozen=True)
class CameraIntrinsics:
    """A pinhole camera without distortion, in pixels of its own image; pixel centres are whole numbers.

    The convention is that of OpenCV's `calibrateCamera` and of ROS's camera_info. Camera axes: x right,
    y down, z along the optical axis.

    Attributes:
        fx, fy: focal length in pixels.
        cx, cy: where the optical axis meets the image.
        width, height: size of the image that the other figures belong to.

    Raises:
        ValueError: a focal length or size that is not above 0, or a figure that is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        figures = (self.fx, self.fy, self.cx, self.cy, self.width, self.height)
        if not all(math.isfinite(value) for value in figures):
            raise ValueError(f"intrinsics: want finite figures, not {figures}")
        if min(self.fx, self.fy, self.width, self.height) <= 0:
            raise ValueError(f"intrinsics: want fx, fy, width and height above 0, not {figures}")

    @classmethod
    def from_fov(cls, degrees: float, width: int, height: int) -> CameraIntrinsics:
        """Square pixels, the axis in the middle, and a horizontal field of view (a data sheet's figure).

        Good to a few percent; calibrate the camera where more is wanted.
        """
        if not 0 < degrees < 180:
            raise ValueError(f"field of view: want degrees between 0 and 180, not {degrees}")
        focal = width / (2 * math.tan(math.radians(degrees) / 2))
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)

    def resized(self, height: int, width: int) -> CameraIntrinsics:
        """The same camera with its image at another size (half-pixel centres, as the graph resizes)."""
        x, y = width / self.width, height / self.height
        return CameraIntrinsics(
            self.fx * x, self.fy * y, (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5, width, height
        )

    def bearing(self, columns: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Radians to the right of the optical axis at which image columns lie."""
        angles: NDArray[np.float64] = np.arctan((np.asarray(columns, np.float64) - self.cx) / self.fx)
        return angles

    def column(self, bearing: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The image column in the direction `bearing` (radians to the right)."""
        return self.cx + self.fx * np.tan(np.asarray(bearing, np.float64))
