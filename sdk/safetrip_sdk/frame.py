"""What a camera frame is: a (H, W, 3) uint8 array, BGR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safetrip_sdk.errors import FrameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["require_target", "size_of"]


def size_of(frame: object, name: str = "frame") -> tuple[int, int]:
    """(H, W) of a frame; FrameError, beginning with `name`, for anything that is none.

    Asked before a model is compiled for that size: a wrong first frame must not decide it, and an empty
    one ends the process inside OpenVINO.
    """
    if not isinstance(frame, np.ndarray):
        hint = "" if frame is None else "; numpy.asarray(...) of an image makes one (channels last, BGR)"
        raise FrameError(f"{name}: want a numpy array, not {type(frame).__name__}{hint}")
    if not _is_frame(frame):
        raise FrameError(f"{name}: want (H, W, 3) uint8 BGR, not {frame.shape} {frame.dtype}{_advice(frame)}")
    return frame.shape[0], frame.shape[1]


def _advice(array: NDArray[Any]) -> str:
    """What makes a frame of an array that looks like an image; empty where it does not."""
    steps = []
    shape = array.shape
    if len(shape) == 4 and shape[0] == 1:
        steps.append("frame[0]")
        shape = shape[1:]
    if len(shape) not in (2, 3) or not array.size:
        return ""
    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        steps.append("numpy.ascontiguousarray(frame.transpose(1, 2, 0))")
    if array.dtype.kind == "f":
        steps.append("numpy.uint8(frame * 255) where its values are 0 to 1")
    elif array.dtype == np.uint16:
        steps.append("numpy.uint8(frame >> 8)")
    if len(shape) == 2 or shape[2:] == (1,):
        steps.append("cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)")
    elif len(shape) == 3 and shape[2] == 4:
        steps.append("cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR), or COLOR_RGBA2BGR")
    return f"; what helps: {', then '.join(steps)}" if steps else ""


def require_target(out: object, size: tuple[int, int] | None) -> None:
    """FrameError for what no frame can be written into; `size` is (H, W) of the frames, for the message.

    OpenCV leaves an array that does not suit it as it is, or refuses it in words of its own.
    """
    if isinstance(out, np.ndarray) and _is_frame(out) and out.flags.c_contiguous and out.flags.writeable:
        return
    height, width = size or ("H", "W")
    given = type(out).__name__
    if isinstance(out, np.ndarray):
        order = "" if out.flags.c_contiguous else ", not C-contiguous"
        given = f"{out.shape} {out.dtype}{order}{'' if out.flags.writeable else ', read-only'}"
    raise FrameError(f"out: want an array like numpy.empty(({height}, {width}, 3), numpy.uint8), not {given}")


def _is_frame(array: NDArray[Any]) -> bool:
    return array.ndim == 3 and array.shape[2] == 3 and array.size > 0 and array.dtype == np.uint8
