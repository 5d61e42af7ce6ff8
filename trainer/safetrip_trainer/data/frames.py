"""A prepared split as raw frames with truth, for calibration and comparison."""

from __future__ import annotations

import os

from safetrip_calibration.frames import LabelledFrame
from safetrip_trainer.data.index import PreparedIndex

__all__ = ["PreparedFrames"]


class PreparedFrames:
    """A `FrameSet`: the samples of a split, read from disk one at a time.

    Args:
        prepared: a prepared set, or its folder.
        split: `train`, `val` or `all`.
        min_confidence: depth below this confidence (0-255) counts as not measured.
    """

    def __init__(
        self, prepared: PreparedIndex | str | os.PathLike[str], split: str = "val", min_confidence: int = 255
    ) -> None:
        self.prepared = prepared if isinstance(prepared, PreparedIndex) else PreparedIndex.load(prepared)
        self.samples = self.prepared.split(split)
        self.min_confidence = min_confidence
        self.names = [sample.id for sample in self.samples]
        self.sources = [sample.source for sample in self.samples]
        self.labelled = [sample.mask is not None for sample in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> LabelledFrame:
        sample = self.samples[position]
        return LabelledFrame(
            name=sample.id,
            frame=self.prepared.load_image(sample),
            source=sample.source,
            labels=self.prepared.load_mask(sample),
            depth=self.prepared.load_depth(sample, min_confidence=self.min_confidence),
        )
