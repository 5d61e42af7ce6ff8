"""Some of an evaluation's frames as pictures: what the net says beside what is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from safetrip_calibration.frames import LabelledFrame
from safetrip_sdk.overlay import Overlay, depth_colors
from safetrip_sdk.prediction import Prediction
from safetrip_trainer.classes import IGNORE, class_infos
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png

__all__ = ["OverlayWriter"]

# Small frames are enlarged to this width, so that the legend can be read.
_MIN_WIDTH = 640


class OverlayWriter:
    """Saves evenly spaced frames: prediction on the left, truth on the right (labels, else depth).

    Args:
        folder: where the PNGs go.
        count: how many at most.
        total: how many frames will come.
    """

    def __init__(self, folder: Path, count: int, total: int) -> None:
        self.folder = folder
        self.chosen = set(np.linspace(0, total - 1, min(count, total), dtype=int).tolist())
        self.predicted = Overlay(class_infos())
        self.truth = Overlay(class_infos(), legend=False, depth=False)

    def __call__(self, position: int, item: LabelledFrame, prediction: Prediction) -> None:
        """Takes a frame, by its place among all, and its prediction."""
        if position in self.chosen:
            left = self.predicted.draw(_enlarge(item.frame), prediction)
            picture = np.hstack([left, self._truth(item, prediction, left.shape[:2])])
            write_atomic(self.folder / f"{item.name.replace('/', '__')}.png", encode_png(picture))

    def _truth(self, item: LabelledFrame, prediction: Prediction, shape: tuple[int, int]) -> np.ndarray:
        frame = _enlarge(item.frame)
        size = prediction.labels.shape[::-1]
        if item.labels is not None:
            labels = cv2.resize(item.labels, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
            drawn = self.truth.draw(frame, replace(prediction, labels=labels))
            unlabelled = cv2.resize((labels == IGNORE).astype(np.uint8), shape[::-1]) > 0
            drawn[unlabelled] = frame[unlabelled] // 2
            return drawn
        if item.depth is not None:
            metres = cv2.resize(
                np.nan_to_num(item.depth, nan=0.0), shape[::-1], interpolation=cv2.INTER_NEAREST
            )
            colours = depth_colors(metres.astype(np.float32))
            colours[metres <= 0] = frame[metres <= 0] // 2
            return colours
        return frame


def _enlarge(frame: np.ndarray) -> np.ndarray:
    if frame.shape[1] >= _MIN_WIDTH:
        return frame
    factor = _MIN_WIDTH / frame.shape[1]
    return cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
