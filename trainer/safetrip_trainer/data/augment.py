"""Augmentation: one geometry for image, labels and depth; all chance from the item's own generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.color import color_matrix
from safetrip_trainer.data.i420 import I420, halves
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.model.preprocess import normalize, resize

__all__ = ["NetInput", "TrainingTransform", "Transform", "Window", "evaluation_transform"]


class NetInput(NamedTuple):
    """`image` (3, h, w) RGB: float32 and normalised, or bytes, which `collate` normalises; `labels` (h, w)
    int64 or bytes, 255 unlabelled; `depth` (h, w) float32 metres, 0 not measured; `confidence` (h, w) float32
    in 0..1 of the labels, or None where it does not matter.
    """

    image: Tensor
    labels: Tensor
    depth: Tensor
    confidence: Tensor | None = None


@dataclass(frozen=True)
class Window:
    """A part of the frame, as shares of its size: 1/`zoom` as wide and high, `top` and `left` in 0..1 of what
    is then free.
    """

    zoom: float = 1.0
    top: float = 0.0
    left: float = 0.0

    def cut(self, plane: np.ndarray) -> np.ndarray:
        """A view of this window of an (H, W, ...) plane, at least one pixel."""
        height, width = plane.shape[:2]
        crop_h, crop_w = max(round(height / self.zoom), 1), max(round(width / self.zoom), 1)
        top, left = round((height - crop_h) * self.top), round((width - crop_w) * self.left)
        return plane[top : top + crop_h, left : left + crop_w]

    @classmethod
    def random(cls, zoom: tuple[float, float], rng: np.random.Generator) -> Window:
        """Anywhere in the frame, the zoom uniform on a logarithmic scale."""
        scale, top, left = rng.random(3)
        return cls(_log_uniform(zoom, scale), top, left)

    @classmethod
    def around(
        cls, pixel: tuple[float, float], zoom: tuple[float, float], rng: np.random.Generator
    ) -> Window:
        """One that shows `pixel` (row and column as shares of the frame), wherever in it."""
        scale, *place = rng.random(3)
        value = _log_uniform(zoom, scale)
        size, free = 1.0 / value, 1.0 - 1.0 / value
        starts = (min(max(at - size * share, 0.0), free) for at, share in zip(pixel, place))
        top, left = (start / free if free > 0 else 0.0 for start in starts)
        return cls(value, top, left)


def _log_uniform(limits: tuple[float, float], share: float) -> float:
    low, high = (math.log(limit) for limit in limits)
    return math.exp(low + (high - low) * share)


class Transform(Protocol):
    """Planes to the net's input; random numbers come from `rng` alone."""

    def __call__(self, planes: Planes, rng: np.random.Generator) -> NetInput: ...


class TrainingTransform:
    """A random window brought to the net's size, mirrored, recoloured and normalised.

    A window 1/z as wide and high makes everything z times as large, as if it stood z times as near: depth is
    divided by z.

    Args:
        size: (h, w) of the net's input.
        zoom: smallest and largest z, at least 1; (1, 1) keeps the whole frame.
        jitter: strength of the colour change (see `color_matrix`); 0 turns it off.
        flip: probability of the mirror image.
        rare_classes: class ids that windows are drawn to.
        rare_probability: how often a window is chosen to show a pixel of one of them, in images that have
            any; 0 turns it off.
    """

    def __init__(
        self,
        size: tuple[int, int],
        zoom: tuple[float, float] = (1.0, 2.0),
        jitter: float = 0.0,
        flip: float = 0.5,
        rare_classes: Sequence[int] = (),
        rare_probability: float = 0.0,
    ) -> None:
        if not 1.0 <= zoom[0] <= zoom[1]:
            raise ValueError(f"zoom {zoom}: expected 1 <= smallest <= largest")
        self.size = (size[0], size[1])
        self.zoom = (zoom[0], zoom[1])
        self.jitter = jitter
        self.flip = flip
        self.rare_classes = np.asarray(rare_classes, dtype=np.uint8)
        self.rare_probability = rare_probability

    def __call__(self, planes: Planes, rng: np.random.Generator) -> NetInput:
        window = self._window(planes.labels, rng)
        image = _image(planes, window, self.size)
        targets = [*_targets(planes, window, self.size), _confidence(planes, window, self.size)]
        if rng.random() < self.flip:
            image = cv2.flip(image, 1)
            targets = [None if plane is None else cv2.flip(plane, 1) for plane in targets]
        labels, depth, confidence = targets
        return NetInput(
            torch.from_numpy(self._recolored(image, rng)).permute(2, 0, 1),
            _plane(labels, self.size, torch.tensor(IGNORE, dtype=torch.uint8)),
            _plane(depth, self.size, torch.tensor(0.0)),
            None if confidence is None else torch.from_numpy(confidence),
        )

    def _window(self, labels: np.ndarray | None, rng: np.random.Generator) -> Window:
        if labels is not None and self.rare_probability > 0 and rng.random() < self.rare_probability:
            present = np.intersect1d(np.flatnonzero(np.bincount(labels.ravel())), self.rare_classes)
            if present.size:
                # A class first, then a pixel: else the largest of the rare ones would take all windows.
                pixels = np.flatnonzero(labels == rng.choice(present))
                row, column = divmod(int(rng.choice(pixels)), labels.shape[1])
                pixel = ((row + 0.5) / labels.shape[0], (column + 0.5) / labels.shape[1])
                return Window.around(pixel, self.zoom, rng)
        return Window.random(self.zoom, rng)

    def _recolored(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(h, w, 3) uint8 BGR to RGB, its colours changed."""
        if self.jitter <= 0:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        matrix = color_matrix(np.array(cv2.mean(image)[2::-1]), self.jitter, rng)
        # The map is of RGB, the image BGR: its columns turned round. Rounds and clips to 0..255.
        return cv2.transform(image, matrix[:, [2, 1, 0, 3]])


def evaluation_transform(size: tuple[int, int]) -> Transform:
    """The whole frame at the net's input size: what the deploy graph does on the robot."""

    def transform(planes: Planes, rng: np.random.Generator) -> NetInput:
        rgb = torch.from_numpy(np.ascontiguousarray(planes.bgr[..., ::-1].transpose(2, 0, 1)))
        labels, depth = _targets(planes, Window(), size)
        image = normalize(resize(rgb[None].float(), size))[0]
        unlabelled = torch.tensor(IGNORE, dtype=torch.uint8)
        return NetInput(
            image, _plane(labels, size, unlabelled).long(), _plane(depth, size, torch.tensor(0.0))
        )

    return transform


def _plane(plane: np.ndarray | None, size: tuple[int, int], absent: Tensor) -> Tensor:
    """As a tensor; where there is none, `absent` everywhere, as a view that takes no memory."""
    return absent.expand(size) if plane is None else torch.from_numpy(plane)


def _image(planes: Planes, window: Window, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 BGR of a window."""
    if isinstance(planes.image, I420) and halves(size):
        # The luma lies exactly where the labels do, the chromas within half of their pixel.
        return planes.image.resized(size, window.cut).bgr()
    return _resized(window.cut(planes.bgr), size, cv2.INTER_LINEAR)


def _targets(
    planes: Planes, window: Window, size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Labels (h, w) uint8 and depth (h, w) float32 in a window, or None.

    By the nearest neighbour: a mean over the edge of an obstacle would be a distance at which nothing stands.
    """
    labels, depth = None, None
    if planes.labels is not None:
        labels = _resized(window.cut(planes.labels), size, cv2.INTER_NEAREST_EXACT)
    if planes.depth is not None:
        depth = _resized(window.cut(planes.depth), size, cv2.INTER_NEAREST_EXACT) / np.float32(window.zoom)
    return labels, depth


def _confidence(planes: Planes, window: Window, size: tuple[int, int]) -> np.ndarray | None:
    """(h, w) float32 in 0..1, of the pixels that `_targets` took the labels from."""
    if planes.confidence is None:
        return None
    confidence = _resized(window.cut(planes.confidence), size, cv2.INTER_NEAREST_EXACT)
    return confidence.astype(np.float32) / np.float32(255)


def _resized(plane: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    return cv2.resize(plane, (size[1], size[0]), interpolation=interpolation)
