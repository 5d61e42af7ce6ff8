"""Predictions of a source's frames: opened, captured, and followed where it changes size."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from safetrip_sdk.errors import FrameSizeError, SourceError
from safetrip_sdk.inference.capture import Capture
from safetrip_sdk.inference.pipeline import Pipeline
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.sources import as_source, open_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.sources import FrameSource

__all__ = ["POLICIES", "stream"]

log = logging.getLogger(__name__)

POLICIES = ("latest", "block", "error")


class Reopenable(Protocol):
    """What a stream asks of the runtime."""

    def open(self, frame_size: tuple[int, int]) -> Pipeline: ...

    def reopen(self, frame_size: tuple[int, int]) -> None: ...


def stream(
    runtime: Reopenable,
    source: FrameSource | Iterable[NDArray[np.uint8]] | str | os.PathLike[str] | int,
    policy: str,
    follow_size: bool = False,
) -> Iterator[Prediction]:
    """The generator behind `Runtime.stream`; leaving it early stops the capture thread."""
    if policy not in ("auto", *POLICIES):
        raise ValueError(f"policy: want auto, {', '.join(POLICIES)}, not {policy!r}")
    if isinstance(source, (str, os.PathLike, int)):
        return _open_and_follow(runtime, source, policy, follow_size)
    return _follow(runtime, as_source(source), policy, follow_size)


def _open_and_follow(
    runtime: Reopenable, uri: str | os.PathLike[str] | int, policy: str, follow_size: bool
) -> Iterator[Prediction]:
    """The stream of a source that nobody else could close; a generator never begun has opened nothing."""
    with open_source(uri) as source:
        yield from _follow(runtime, source, policy, follow_size)


def _follow(runtime: Reopenable, source: FrameSource, policy: str, follow_size: bool) -> Iterator[Prediction]:
    """The stream, gone on with in a runtime opened anew where the source changes size and that is wanted."""
    if policy == "auto":
        policy = "latest" if source.live else "block"
    opened = None
    while True:
        try:
            yield from _run(runtime, source, policy)
            return
        except FrameSizeError as error:
            # A backend that is not of the size it was opened for would be opened for ever.
            if not follow_size or error.size == opened:
                raise
            log.warning("reopening for frames of another size: %s", error)
            runtime.reopen(frame_size=error.size)
            opened = error.size


def _run(runtime: Reopenable, source: FrameSource, policy: str) -> Iterator[Prediction]:
    if source.frame_size is None:
        raise SourceError(f"{source}: says no frame size")
    pipeline = runtime.open(source.frame_size)
    _require_size(pipeline, source, source.frame_size)
    capture = Capture(pipeline, source, policy)
    try:
        while (prediction := capture.take()) is not None:
            yield prediction
    finally:
        capture.stop()


def _require_size(pipeline: Pipeline, source: FrameSource, size: tuple[int, int]) -> None:
    """FrameSizeError where the runtime was opened before, for frames of another size than the source's."""
    (height, width), (wants_height, wants_width) = size, pipeline.frame_shape[:2]
    if (height, width) != (wants_height, wants_width):
        raise FrameSizeError(
            f"{source}: its frames are {height}x{width} (height x width), the runtime is open for "
            f"{wants_height}x{wants_width}; use stream(..., follow_size=True) or "
            f"Runtime.reopen(frame_size=({height}, {width}))",
            (int(height), int(width)),
        )
