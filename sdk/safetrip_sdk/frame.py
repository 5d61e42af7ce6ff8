"""What a camera frame is: a (H, W, 3) uint8 array, BGR."""

from __future__ import annotations

import numpy as np

from safetrip_sdk.errors import FrameError

__all__ = ["size_of"]


def size_of(frame: object, name: str = "frame") -> tuple[int, int]:
    """(H, W) of a frame; FrameError, beginning with `name`, for anything that is none.

    Asked before a model is compiled for that size: a wrong first frame must not decide it, and an empty
    one ends the process inside OpenVINO.
    """
    if not isinstance(frame, np.ndarray):
        hint = "" if frame is None else "; numpy.asarray(...) of an image makes one (channels last, BGR)"
        raise FrameError(f"{name}: want a numpy array, not {type(frame).__name__}{hint}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype != np.uint8:
        raise FrameError(f"{name}: want (H, W, 3) uint8 BGR, not {frame.shape} {frame.dtype}")
    return frame.shape[0], frame.shape[1]
