"""Accuracy of predictions, accumulated frame by frame: a confusion matrix and a few sums.

IoU per class is hit / (truth + predicted - hit) over all pixels of all frames; mIoU is its mean over the
classes that occur in the truth. Depth figures are those of Eigen et al. 2014 (arXiv 1406.2283, section 4.1):
AbsRel = mean |d - t| / t, delta1 = share of pixels with max(d / t, t / d) < 1.25.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DepthError", "LabelOverlap", "to_size"]

MIN_DEPTH = 1e-3  # metres: keeps ratios finite where a net says 0


def to_size(plane: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.generic]:
    """(H, W) -> (h, w) by the nearest pixel's centre: no label and no depth is invented between two."""
    rows = ((np.arange(size[0]) + 0.5) * plane.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * plane.shape[1] / size[1]).astype(int)
    result: NDArray[np.generic] = plane[rows[:, None], columns[None, :]]
    return result


class LabelOverlap:
    """Confusion of predicted with true labels; `classes` is their number, 255 in the truth does not count."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.confusion = np.zeros((classes, classes), np.int64)

    def update(self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
        """Add one frame (equal shapes); returns the share of its labelled pixels that agree (NaN: none)."""
        valid = truth < self.classes  # no id of a class: 255
        index = truth[valid].astype(np.int64) * self.classes + np.minimum(predicted[valid], self.classes - 1)
        counts = np.bincount(index, minlength=self.classes**2).reshape(self.classes, self.classes)
        self.confusion += counts
        total = counts.sum()
        return float(np.trace(counts) / total) if total else float("nan")

    @property
    def pixels(self) -> int:
        """Labelled pixels seen."""
        return int(self.confusion.sum())

    @property
    def agreement(self) -> float | None:
        """Share of labelled pixels that agree; None before any was seen."""
        return float(np.trace(self.confusion) / self.pixels) if self.pixels else None

    def iou(self) -> NDArray[np.float64]:
        """(classes,) IoU; NaN for a class that is not in the truth."""
        hit = np.diagonal(self.confusion).astype(np.float64)
        truth, predicted = self.confusion.sum(1), self.confusion.sum(0)
        union = truth + predicted - hit
        nothing = np.full(self.classes, np.nan)
        result: NDArray[np.float64] = np.divide(hit, union, out=nothing, where=truth > 0)
        return result

    def shares(self) -> NDArray[np.float64]:
        """(classes,) share of the true pixels that each class has."""
        shares: NDArray[np.float64] = self.confusion.sum(1) / max(self.pixels, 1)
        return shares

    @property
    def miou(self) -> float | None:
        """Mean IoU over the classes in the truth; None when nothing was labelled."""
        return float(np.nanmean(self.iou())) if self.pixels else None


@dataclass
class DepthError:
    """Sums over valid pixels: AbsRel, RMSE and delta1 of depth in metres."""

    relative: float = 0.0
    squared: float = 0.0
    close: int = 0
    pixels: int = 0
    max_depth: float = 80.0

    def update(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Add one frame (equal shapes); pixels whose truth is not finite, 0 or beyond `max_depth` do not
        count, nor those whose `depth` is not finite (`NotFinite` counts them).
        """
        valid = np.isfinite(truth) & (truth > 0) & (truth <= self.max_depth) & np.isfinite(depth)
        d = np.maximum(depth[valid].astype(np.float64), MIN_DEPTH)
        t = np.maximum(truth[valid].astype(np.float64), MIN_DEPTH)
        self.relative += float((np.abs(d - t) / t).sum())
        self.squared += float(((d - t) ** 2).sum())
        self.close += int((np.maximum(d / t, t / d) < 1.25).sum())
        self.pixels += d.size

    @property
    def abs_rel(self) -> float | None:
        """Mean relative error; None when no pixel was valid."""
        return self.relative / self.pixels if self.pixels else None

    @property
    def rmse(self) -> float | None:
        """Metres; None when no pixel was valid."""
        return (self.squared / self.pixels) ** 0.5 if self.pixels else None

    @property
    def delta1(self) -> float | None:
        """Share of pixels within 25 %; None when no pixel was valid."""
        return self.close / self.pixels if self.pixels else None
