"""Predictions of images, folders and videos, as pictures and label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from safetrip_sdk.errors import FrameSizeError
from safetrip_sdk.overlay import Overlay
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.sources import FrameSource, open_source
from safetrip_sdk.video import VideoWriter
from safetrip_trainer.classes import class_infos
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.predictor import Predictor

__all__ = ["infer"]

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def infer(predictor: Predictor, source: str, out: Path) -> int:
    """Predicts every frame of a source.

    An image gets `NAME_overlay.png`, `NAME_labels.png` (class ids) and `NAME_depth.png` (16-bit, millimetres,
    65,535 where farther); a video gets one annotated `NAME_overlay.mp4`.

    Args:
        predictor: of `open_predictor`.
        source: as the SDK's `open_source` takes it: image, folder, glob, video.
        out: folder to write to.

    Returns:
        The number of frames.

    Raises:
        SourceError: the source cannot be opened.
        TrainerError: the source is a camera, which has no end.
    """
    overlay, count = Overlay(class_infos()), 0
    with open_source(source) as frames:
        if frames.live or frames.frame_size is None:
            raise TrainerError(f"{source}: has no end; `safetrip run` takes cameras and streams")
        out.mkdir(parents=True, exist_ok=True)
        video = None
        if source.lower().endswith(_VIDEO_SUFFIXES):
            video = VideoWriter(out / f"{Path(source).stem}_overlay.mp4", getattr(frames, "fps", 0.0) or 10.0)
        progress = tqdm(desc="infer", unit="frame")
        while frames.grab() is not None:
            frame = _retrieve(frames)
            prediction = predictor(frame)
            if video is not None:
                video.write(overlay.draw(frame, prediction))
            else:
                _write_image(out, Path(frames.origin).stem, overlay.draw(frame, prediction), prediction)
            count += 1
            progress.update()
        progress.close()
        if video is not None:
            video.close()
    return count


def _retrieve(frames: FrameSource) -> np.ndarray:
    """The frame grabbed last; a folder's images may differ in size."""
    assert frames.frame_size is not None
    frame = np.empty((*frames.frame_size, 3), np.uint8)
    try:
        frames.retrieve(frame)
    except FrameSizeError:
        frame = np.empty((*frames.frame_size, 3), np.uint8)
        frames.retrieve(frame)
    return frame


def _write_image(out: Path, name: str, drawn: np.ndarray, prediction: Prediction) -> None:
    millimetres = np.clip(prediction.depth * 1000, 0, 65535).astype(np.uint16)
    for kind, image in (("overlay", drawn), ("labels", prediction.labels), ("depth", millimetres)):
        write_atomic(out / f"{name}_{kind}.png", encode_png(image))
