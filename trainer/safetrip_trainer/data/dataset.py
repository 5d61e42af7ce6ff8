"""Samples as tensors: whatever labels a sample has, and "no label" where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from safetrip_trainer.classes import IGNORE
from safetrip_trainer.data.augment import DepthMap
from safetrip_trainer.data.index import PreparedIndex, Sample

__all__ = ["SafetripDataset"]


class SafetripDataset(Dataset[dict[str, Any]]):
    """Images with class labels and depth, either of which may be missing.

    An item holds `image` (3, h, w) float32, normalised; `labels` (h, w) int64, 255 where unlabelled; `depth`
    (h, w) float32 metres, 0 where not measured; `name`, the sample's id.

    Args:
        index: the prepared set.
        samples: which of its samples.
        transform: takes and returns the tv_tensors above.
        min_confidence: depth below this confidence (0-255) counts as not measured.
        pseudo_confidence: a teacher's labels are used on depth samples above this confidence (0..1);
            `None` ignores them.
        decode_size: (h, w) that suffices: larger JPEGs are decoded at a reduced scale. `None`: full size.
    """

    def __init__(
        self,
        index: PreparedIndex,
        samples: Sequence[Sample],
        transform: v2.Transform,
        min_confidence: int = 1,
        pseudo_confidence: float | None = 0.7,
        decode_size: tuple[int, int] | None = None,
    ) -> None:
        self.index = index
        self.samples = list(samples)
        self.transform = transform
        self.min_confidence = min_confidence
        self.pseudo_confidence = pseudo_confidence
        self.decode_size = decode_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> dict[str, Any]:
        sample = self.samples[position]
        frame = self.index.load_image(sample, min_size=self.decode_size)
        rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))
        image, labels, depth = self.transform(
            tv_tensors.Image(rgb), tv_tensors.Mask(self._labels(sample)), DepthMap(self._depth(sample))
        )
        return {
            "image": image.as_subclass(Tensor),
            "labels": labels.as_subclass(Tensor).long(),
            "depth": depth.as_subclass(Tensor),
            "name": sample.id,
        }

    def _labels(self, sample: Sample) -> Tensor:
        labels = self.index.load_mask(sample)
        if labels is None and self.pseudo_confidence is not None:
            pseudo = self.index.load_pseudo(sample)
            if pseudo is not None:
                certain = pseudo[1] > self.pseudo_confidence * 255
                labels = np.where(certain, pseudo[0], np.uint8(IGNORE))
        if labels is None:
            return torch.full((sample.height, sample.width), IGNORE, dtype=torch.uint8)
        return torch.from_numpy(labels)

    def _depth(self, sample: Sample) -> Tensor:
        depth = self.index.load_depth(sample, min_confidence=self.min_confidence)
        if depth is None:
            return torch.zeros((sample.height, sample.width))
        return torch.from_numpy(np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0))
