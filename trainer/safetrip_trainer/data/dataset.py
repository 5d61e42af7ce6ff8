"""Samples as tensors: whatever labels a sample has, and "no label" where it has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.augment import Transform
from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.data.sampler import Draw
from safetrip_trainer.data.source import PlaneSource, TreeSource
from safetrip_trainer.errors import DatasetError

__all__ = ["SafetripDataset"]


class SafetripDataset(Dataset[dict[str, Any]]):
    """Images with class labels and depth, either of which may be missing.

    An item holds `image` (3, h, w) RGB, normalised float32 or bytes, which `collate` normalises; `labels`
    (h, w) int64, 255 where unlabelled; `depth` (h, w) float32 metres, 0 where not measured; `name`, the
    sample's id; and `unreadable`, a message for each sample that could not be read on the way.

    Args:
        index: the prepared set.
        samples: which of its samples.
        transform: planes to the net's input.
        min_confidence: depth below this confidence (0-255) counts as not measured.
        pseudo_confidence: a teacher's labels are used on depth samples above this confidence (0..1);
            `None` ignores them.
        pseudo_weighted: items hold `confidence` (h, w) float32: the teacher's in its labels, 1 in annotated
            ones.
        source: reads the planes; from the tree at full size by default.
        unreadable: what becomes of a sample that cannot be read: an error (`raise`), another one of the same
            source in its place (`replace`), or an item without any label (`blank`).
        tries: how many others `replace` tries before the item has no image at all.
    """

    def __init__(
        self,
        index: PreparedIndex,
        samples: Sequence[Sample],
        transform: Transform,
        min_confidence: int = 1,
        pseudo_confidence: float | None = 0.7,
        pseudo_weighted: bool = False,
        source: PlaneSource | None = None,
        unreadable: Literal["raise", "replace", "blank"] = "raise",
        tries: int = 0,
    ) -> None:
        self.index = index
        self.samples = list(samples)
        self.transform = transform
        self.min_confidence = min_confidence
        self.pseudo_confidence = pseudo_confidence
        self.pseudo_weighted = pseudo_weighted
        self.source = source or TreeSource(index)
        self.unreadable = unreadable
        self.tries = tries

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        """A position, or what the training sampler drew: then all chance in the item comes from its key."""
        drawn = draw if isinstance(draw, Draw) else Draw(draw, (0, 0, draw))
        messages: list[str] = []
        for number in self._candidates(drawn):
            sample = self.samples[number]
            try:
                return self._item(sample, self.read(sample), drawn, messages)
            except DatasetError as error:
                if self.unreadable == "raise":
                    raise
                messages.append(str(error))
        if self.unreadable == "blank":
            sample = self.samples[drawn.sample]
            black = Planes(np.zeros((sample.height, sample.width, 3), np.uint8))
            return self._item(sample, self._certain(black), drawn, messages)
        return {"unreadable": messages}

    def _item(self, sample: Sample, planes: Planes, drawn: Draw, messages: list[str]) -> dict[str, Any]:
        given = self.transform(planes, np.random.default_rng(drawn.key))
        tensors = {key: value for key, value in given._asdict().items() if value is not None}
        return {**tensors, "name": sample.id, "unreadable": messages}

    def _candidates(self, drawn: Draw) -> Iterator[int]:
        """The sample drawn, then those that may stand in: of its source, in an order that the key gives."""
        yield drawn.sample
        if self.unreadable == "replace":
            source = self.samples[drawn.sample].source
            others = [number for number, sample in enumerate(self.samples) if sample.source == source]
            # One number more than the item's own generator is seeded with: another stream.
            order = np.random.default_rng([*drawn.key, 1]).permutation(others)
            yield from (int(number) for number in order[: self.tries] if number != drawn.sample)

    def read(self, sample: Sample) -> Planes:
        """The sample's planes, a teacher's labels among them; DatasetError naming the file at fault."""
        planes = self.source.read(sample, self.min_confidence)
        if planes.labels is None and self.pseudo_confidence is not None:
            pseudo = self.index.load_pseudo(sample)
            if pseudo is not None:
                certain = pseudo[1] > self.pseudo_confidence * 255
                labels = np.where(certain, pseudo[0], np.uint8(IGNORE))
                return planes._replace(labels=labels, confidence=pseudo[1] if self.pseudo_weighted else None)
        return self._certain(planes)

    def _certain(self, planes: Planes) -> Planes:
        """All labels for sure, said pixel by pixel where other samples of the batch say so."""
        if not self.pseudo_weighted:
            return planes
        shape = planes.image.shape[:2] if planes.labels is None else planes.labels.shape
        return planes._replace(confidence=np.full(shape, 255, np.uint8))
