"""A few frames of one size to measure latency on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from safetrip_calibration.accuracy import to_size
from safetrip_calibration.errors import FramesError
from safetrip_sdk import FrameSource, open_source

__all__ = ["frames_from", "resized"]

COUNT = 16


def resized(
    frames: Iterable[NDArray[np.uint8]], size: tuple[int, int], count: int = COUNT
) -> list[NDArray[np.uint8]]:
    """The first `count` frames, brought to (H, W) by the nearest pixel; FramesError when there is none."""
    made = []
    for frame in frames:
        same = frame.shape[:2] == size
        made.append(np.ascontiguousarray(frame if same else to_size(frame, size)).astype(np.uint8))
        if len(made) == count:
            break
    if not made:
        raise FramesError("there are no frames to measure on")
    return made


def frames_from(uri: str | None, size: tuple[int, int], count: int = COUNT) -> list[NDArray[np.uint8]]:
    """Frames of a source that the SDK can open (image, folder, video); moving gradients without one."""
    height, width = size
    with open_source(uri or f"synthetic://{width}x{height}") as source:
        return resized(_read(source), size, count)


def _read(source: FrameSource) -> Iterator[NDArray[np.uint8]]:
    assert source.frame_size is not None  # known of every source that is open
    while True:
        frame = np.empty((*source.frame_size, 3), np.uint8)
        if source.read_into(frame) is None:
            return
        yield frame
