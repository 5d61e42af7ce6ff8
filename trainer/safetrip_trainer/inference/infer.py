"""Predictions of images, folders and videos, as pictures and label files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from safetrip_sdk.errors import FrameSizeError, SourceError
from safetrip_sdk.overlay import Overlay
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.sources import FrameSource, open_source
from safetrip_sdk.sources.images import ImageSource
from safetrip_sdk.sources.video import VideoSource
from safetrip_sdk.video import VideoWriter
from safetrip_trainer.classes import class_infos
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.files import write_planes
from safetrip_trainer.inference.predictor import Predictor

__all__ = ["infer"]

logger = logging.getLogger(__name__)

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def infer(predictor: Predictor, source: str, out: Path) -> int:
    """Predicts every frame of a source.

    An image gets `NAME_overlay.png`, `NAME_labels.png` (class ids) and `NAME_depth.png` (16-bit, millimetres,
    65,535 where farther); a video gets one annotated `NAME_overlay.mp4`. Of several images of one name the
    later ones get `-2`, `-3`, ... added; one that cannot be read is named in the log and left out.

    Args:
        predictor: of `open_predictor`.
        source: as the SDK's `open_source` takes it: image, folder, glob, video.
        out: folder to write to.

    Returns:
        The number of frames.

    Raises:
        SourceError: the source cannot be opened, or is lost on the way.
        TrainerError: the source is a camera, which has no end.
    """
    overlay, count = Overlay(class_infos()), 0
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(source))
        if frames.live or frames.frame_size is None:
            raise TrainerError(f"{source}: has no end; `safetrip run` takes cameras and streams")
        out.mkdir(parents=True, exist_ok=True)
        video, names = None, _Names()
        if source.lower().endswith(_VIDEO_SUFFIXES):
            video = VideoWriter(out / f"{Path(source).stem}_overlay.mp4", frames.fps or 10.0)
            stack.callback(video.abandon)  # of no effect on one that is complete
        total = _total(frames)
        progress = stack.enter_context(tqdm(desc="infer", unit="frame", total=total))
        for frame in _frames(frames):
            prediction = predictor(frame)
            if video is not None:
                video.write(overlay.draw(frame, prediction))
            else:
                name = names.fresh(Path(frames.origin).stem)
                _write_image(out, name, overlay.draw(frame, prediction), prediction)
            count += 1
            progress.update()
        if video is not None:
            video.close()
    if total is not None and count < total:
        logger.warning("%s: ended after %d of the %d frames it announces: damaged?", source, count, total)
    return count


def _total(frames: FrameSource) -> int | None:
    """How many frames will come, where the source knows."""
    if isinstance(frames, ImageSource):
        return len(frames.paths)
    return frames.frame_count if isinstance(frames, VideoSource) else None


class _Names:
    """Every file its own name: `a.png` beside `a.jpg`, or the same name in two folders of a glob."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def fresh(self, stem: str) -> str:
        """`stem`, or with `-2`, `-3`, ... where an earlier frame had it."""
        name, number = stem, 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        return name


def _frames(frames: FrameSource) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 BGR each; an image file that cannot be read is named and left out."""
    while True:
        try:
            if frames.grab() is None:
                return
        except SourceError as error:
            if not isinstance(frames, ImageSource):
                raise
            logger.warning("%s; left out", error)
            continue
        yield _retrieve(frames)


def _retrieve(frames: FrameSource) -> np.ndarray:
    """The frame grabbed last; a folder's images may differ in size."""
    assert frames.frame_size is not None
    frame = np.empty((*frames.frame_size, 3), np.uint8)
    try:
        frames.retrieve(frame)
    except FrameSizeError:
        # The source has learnt the new size, and gives the same image again.
        frames.grab()
        frame = np.empty((*frames.frame_size, 3), np.uint8)
        frames.retrieve(frame)
    return frame


def _write_image(out: Path, name: str, drawn: np.ndarray, prediction: Prediction) -> None:
    write_atomic(out / f"{name}_overlay.png", encode_png(drawn))
    write_planes(out, name, prediction.labels, prediction.depth)
