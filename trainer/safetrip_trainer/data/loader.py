"""The training and validation loaders: resumable at any batch, and steady when a file cannot be read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from safetrip_trainer.data.parallel import keep_memory
from safetrip_trainer.data.sampler import BalancedBatchSampler
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.model.preprocess import normalize

__all__ = ["SampleLoader", "collate"]

logger = logging.getLogger(__name__)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Items to one batch, ready for the net.

    `image` (N, 3, h, w) float32, normalised RGB, channels last in memory; `labels` (N, h, w) int64; `depth`,
    and `confidence` where items have one, stacked; `name` a list; `unreadable` the messages of all. Where an
    item found no sample to read, the batch holds the messages only.
    """
    unreadable = [message for item in items for message in item["unreadable"]]
    if any("image" not in item for item in items):
        return {"unreadable": unreadable}
    targets = [key for key in _TARGETS if key in items[0]]
    return {
        "image": _stacked([item["image"].permute(1, 2, 0).numpy() for item in items]),
        **{key: _together([item[key] for item in items], _TARGETS[key]) for key in targets},
        "name": [item["name"] for item in items],
        "unreadable": unreadable,
    }


_TARGETS = {"labels": torch.int64, "depth": torch.float32, "confidence": torch.float32}


def _together(planes: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """(h, w) each to (N, h, w), converted on the way to their place."""
    batch = _empty((len(planes), *planes[0].shape), dtype)
    for place, plane in zip(batch, planes):
        place.copy_(plane)
    return batch


def _stacked(images: Sequence[np.ndarray]) -> Tensor:
    """(h, w, 3) RGB each to (N, 3, h, w) float32; bytes are normalised on the way to their place."""
    rows = _empty((len(images), *images[0].shape), torch.float32)
    for row, image in zip(rows.numpy(), images):
        if image.dtype == np.uint8:
            cv2.transform(image.astype(np.float32), _NORMALIZE, dst=row)
        else:
            row[:] = image
    return rows.permute(0, 3, 1, 2)


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """In a worker process in shared memory, where the batch would be copied to otherwise."""
    if get_worker_info() is None:
        return torch.empty(tuple(shape), dtype=dtype)
    # As torch's own `default_collate` does it.
    size = math.prod(shape) * dtype.itemsize
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage).view(tuple(shape))


def _normalization() -> np.ndarray:
    """`normalize` as a (3, 4) map of RGB."""
    black, white = (
        normalize(torch.full((1, 3, 1, 1), value, dtype=torch.float64)).flatten().numpy() for value in (0, 1)
    )
    return np.column_stack([np.diag(white - black), black])


_NORMALIZE = _normalization()


class SampleLoader(DataLoader[dict[str, Any]]):
    """A DataLoader that can go on at the batch where an earlier run stopped (Lightning's stateful loader).

    Batches are counted as they are handed out, not as workers prepare them. Files that cannot be read are
    named once each in the log, on this process; more than `max_unreadable` of them end the run with a
    DatasetError of one line.

    Args:
        dataset: gives the items that `collate` takes.
        max_unreadable: how many samples may be unreadable.
        options: DataLoader's.
    """

    def __init__(self, dataset: Dataset[dict[str, Any]], max_unreadable: int = 0, **options: Any) -> None:
        options.update(
            collate_fn=collate,
            worker_init_fn=keep_memory,
            # Its own: the seed drawn for the workers at each epoch's start must not move the model's numbers.
            generator=torch.Generator(),
        )
        # Before workers are forked: they would wait for OpenCV's threads, which are not copied.
        cv2.setNumThreads(0)
        super().__init__(dataset, **options)
        self._max_unreadable = max_unreadable
        self._unreadable: set[str] = set()
        self._given = 0
        self._resume: tuple[int, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """`epoch`, and `samples` handed out of it by all processes together."""
        if not isinstance(self.batch_sampler, BalancedBatchSampler):
            return {}
        return {
            "epoch": self.batch_sampler.sampler.epoch,
            "samples": self._given * self.batch_sampler.block,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on in that epoch after those samples; another epoch begins at its start."""
        if state:
            self._resume = (state["epoch"], state["samples"])

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        # A generator, so that nothing is fetched before the first batch is asked for: on resuming, Lightning
        # tells the epoch only after it has made the iterator.
        self._given = self._first_batch()
        for batch in super().__iter__():
            self._check(batch)
            self._given += 1
            yield batch

    def _first_batch(self) -> int:
        if not isinstance(self.batch_sampler, BalancedBatchSampler):
            return 0
        resume, self._resume = self._resume, None
        goes_on = resume is not None and resume[0] == self.batch_sampler.sampler.epoch
        first = resume[1] // self.batch_sampler.block if resume is not None and goes_on else 0
        self.batch_sampler.start_at(first)
        return first

    def _check(self, batch: dict[str, Any]) -> None:
        for message in batch.pop("unreadable"):
            if message not in self._unreadable:
                self._unreadable.add(message)
                logger.warning("%s; skipped", message)
        count, first = len(self._unreadable), min(self._unreadable, default="")
        if count > self._max_unreadable:
            raise DatasetError(
                f"{count} unreadable sample(s), more than data.max_unreadable={self._max_unreadable}: {first}"
            )
        if "image" not in batch:
            raise DatasetError(f"no readable sample left of a source ({count} unreadable): {first}")
