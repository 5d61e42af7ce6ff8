"""What the runtime gives back for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.classes import ClassTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetrip_sdk.results import CameraIntrinsics, Hazard, LabelledPoints, Walkable

__all__ = ["Prediction", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds one frame spent in each stage.

    Attributes:
        wait: for a free slot, for the frames before it, and for threads to wake up.
        upload: copy into the slot and to the device.
        compute: the engine.
        download: copy back to the host and into the prediction.
        total: from capture (or from the call, where no capture time is known) to the prediction.
    """

    wait: float
    upload: float
    compute: float
    download: float
    total: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Labels and metric depth of one frame; the arrays are the prediction's own, never reused.

    Attributes:
        labels: (h, w) uint8 class ids, indices into `classes`.
        depth: (h, w) float32 metres along the optical axis.
        confidence: (h, w) uint8, 255 = certain; None where the model gives none.
        classes: class names by id; a `ClassTable`, with kinds and colours, where a bundle was opened.
        frame_id: counts the runtime's frames from 0; a dropped frame leaves a gap.
        captured_at: nanoseconds on the monotonic clock (`time.monotonic_ns`).
        timing: where the time went.

    Raises:
        TypeError: something else than arrays.
        ValueError: arrays that do not fit each other.
    """

    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    confidence: NDArray[np.uint8] | None
    classes: tuple[str, ...]
    frame_id: int
    captured_at: int
    timing: Timing

    def __post_init__(self) -> None:
        shape = getattr(self.labels, "shape", ())
        _check("labels", self.labels, np.uint8, shape)
        _check("depth", self.depth, np.float32, shape)
        if self.confidence is not None:
            _check("confidence", self.confidence, np.uint8, shape)

    def hazards(self, intrinsics: CameraIntrinsics | None = None, sectors: int = 9) -> tuple[Hazard, ...]:
        """The nearest obstacle of each sector of the view, from left to right; see `results.find_hazards`.

        Args:
            intrinsics: of the camera, in its own image size: gives bearings and sizes in metres.
            sectors: side by side; equal angles with intrinsics, else equal numbers of columns.

        Returns:
            At most one `Hazard` for each sector; empty where no obstacle is in view.

        Raises:
            TypeError: an argument of another type.
            ValueError: fewer than 1 sector, or `classes` says no kinds (see `ClassTable`).
        """
        from safetrip_sdk.results.hazards import find_hazards

        return find_hazards(self, self._table(), intrinsics, sectors)

    def walkable(self, intrinsics: CameraIntrinsics | None = None, sectors: int = 9) -> Walkable:
        """Mask of the ground to walk on, and the free way ahead by sector; see `results.find_walkable`.

        Args:
            intrinsics: of the camera, in its own image size: sectors are then equal angles.
            sectors: side by side.

        Raises:
            TypeError: an argument of another type.
            ValueError: fewer than 1 sector, no surface to walk on among the classes, or `classes` says no
                kinds.
        """
        from safetrip_sdk.results.walkable import find_walkable

        return find_walkable(self, self._table(), intrinsics, sectors)

    def points(self, intrinsics: CameraIntrinsics, max_distance: float | None = None) -> LabelledPoints:
        """Labelled point cloud: `xyz` (N, 3) float32 metres in camera axes, `labels` (N,) uint8.

        Args:
            intrinsics: of the camera, in its own image size.
            max_distance: metres; points behind it are left out.

        Raises:
            TypeError: an argument of another type.
        """
        from safetrip_sdk.results.points import to_points

        return to_points(self, intrinsics, max_distance)

    def _table(self) -> ClassTable:
        if not isinstance(self.classes, ClassTable):
            raise ValueError(
                "prediction.classes: names alone do not say which classes are obstacles; give the runtime "
                "a ClassTable (a bundle's runtime has one)"
            )
        return self.classes

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Prediction(frame_id={self.frame_id}, {width}x{height}, total={self.timing.total:.2f} ms)"


def _check(name: str, array: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"prediction.{name}: want a NumPy array, not {type(array).__name__}")
    if array.dtype != dtype or array.ndim != 2 or array.shape != shape:
        raise ValueError(
            f"prediction.{name}: want a {shape} {np.dtype(dtype)} array, not {array.shape} {array.dtype}"
        )
