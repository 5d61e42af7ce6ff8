"""What an output is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.prediction import Prediction

__all__ = ["Output", "Shot"]


class Shot(NamedTuple):
    """A frame and what was predicted of it.

    Attributes:
        frame: (H, W, 3) uint8 BGR, nobody else's; None where no output had room for a picture.
        prediction: of that frame.
        origin: what the source calls the frame.
    """

    frame: NDArray[np.uint8] | None
    prediction: Prediction
    origin: str


class Output(Protocol):
    """Takes shots one after another; used by one thread."""

    pictures: bool
    """Whether it needs the frames."""

    def write(self, shot: Shot) -> None:
        """Take one shot."""

    def close(self) -> None:
        """Complete what was written; idempotent."""

    def abandon(self) -> None:
        """End without a result, after an error elsewhere: what may not stand half-finished goes."""
