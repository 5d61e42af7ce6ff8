"""What the runtime gives back for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        classes: class names by id.
        frame_id: counts the runtime's frames from 0; a dropped frame leaves a gap.
        captured_at: nanoseconds on the monotonic clock (`time.monotonic_ns`).
        timing: where the time went.

    Raises:
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
        shape = self.labels.shape
        _check("labels", self.labels, np.uint8, shape)
        _check("depth", self.depth, np.float32, shape)
        if self.confidence is not None:
            _check("confidence", self.confidence, np.uint8, shape)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Prediction(frame_id={self.frame_id}, {width}x{height}, total={self.timing.total:.2f} ms)"


def _check(name: str, array: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.ndim != 2 or array.shape != shape:
        raise ValueError(
            f"prediction.{name}: want a {shape} {np.dtype(dtype)} array, not {array.shape} {array.dtype}"
        )
