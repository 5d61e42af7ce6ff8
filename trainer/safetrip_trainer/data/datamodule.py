"""The prepared set as Lightning's loaders."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from safetrip_sdk.device import core_count
from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.augment import TrainingTransform, evaluation_transform
from safetrip_trainer.data.cache import CacheSource
from safetrip_trainer.data.cache.locate import find_cache, open_index
from safetrip_trainer.data.cache.store import is_url, plain
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.data.index import HEADER_FILE, PreparedIndex, Sample
from safetrip_trainer.data.loader import SampleLoader
from safetrip_trainer.data.not_prepared import beside
from safetrip_trainer.data.raw_tree import prepare_tree, warn_of_more
from safetrip_trainer.data.sampler import BalancedBatchSampler, BalancedOrder, ShardSampler
from safetrip_trainer.data.source import PlaneSource, TreeSource
from safetrip_trainer.data.statistics import total_pixels
from safetrip_trainer.data.tree import SOURCES
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.settings import require_within

__all__ = ["SafetripDataModule"]

logger = logging.getLogger(__name__)

_RARE_SHARE = 0.01
_ASKED = 3


class SafetripDataModule(L.LightningDataModule):
    """SafeTrip-Q for training and validation.

    Args:
        root: what `trainer prepare` wrote (or the URL of its cache), or a raw SafeTrip-Q tree, which is then
            prepared first.
        prepared: where a raw tree is prepared to; beside it, with `-prepared` added, by default.
        size: height and width of the net's input, as two numbers or as `288x512`.
        batch_size: images a step and process.
        ratios: share of `surface`, `polygon` and `depth` samples in every batch; a source that is not
            named takes no part.
        seed: of the order of samples.
        num_workers: loading processes; -1 takes one a core, at most 8.
        zoom: smallest and largest random magnification.
        jitter: strength of the colour augmentation, such as 0.3; 0 turns it off.
        rare_probability: how often a crop is drawn to a rare class where the image has one; 0 turns it off.
        rare_classes: names of the rare classes; without, those with less than 1% of the labelled pixels.
        min_confidence: depth below this confidence (0-255) is not trained on.
        val_min_confidence: the same for validation; 255 keeps measured pixels only.
        pseudo_confidence: a teacher's labels count above this confidence on samples with depth only.
        pseudo_weighted: and each of their pixels by its confidence; annotated pixels count in full.
        cache: where training reads from: `auto` takes the cache that `trainer prepare` wrote, else the tree;
            `off` the tree; or a cache's folder or URL.
        reduced_decoding: without a cache, decode large JPEGs at the smallest scale that covers the input.
        max_unreadable: so many samples may turn out unreadable; they are named and others take their place.

    Raises:
        TrainerError: a setting has no meaning, such as a negative `jitter`.
    """

    def __init__(
        self,
        root: str,
        prepared: str | None = None,
        size: tuple[int, int] | str = (512, 512),
        batch_size: int = 8,
        ratios: dict[str, float] | None = None,
        seed: int = 0,
        num_workers: int = -1,
        zoom: tuple[float, float] = (1.0, 2.0),
        jitter: float = 0.0,
        rare_probability: float = 0.0,
        rare_classes: list[str] | None = None,
        min_confidence: int = 128,
        val_min_confidence: int = 255,
        pseudo_confidence: float | None = 0.7,
        pseudo_weighted: bool = False,
        cache: str = "auto",
        reduced_decoding: bool = True,
        max_unreadable: int = 10,
    ) -> None:
        super().__init__()
        self.size = _size(size)
        self.save_hyperparameters()
        self.hparams["size"] = self.size
        self.root = plain(root)
        self.prepared = Path(prepared) if prepared else None
        self.batch_size = batch_size
        self.ratios = _checked(ratios or {"surface": 1.0, "polygon": 1.0, "depth": 1.0})
        self.seed = seed
        self.num_workers = min(core_count(), 8) if num_workers < 0 else num_workers
        if not 1.0 <= zoom[0] <= zoom[1] < math.inf:
            raise DatasetError(f"data.zoom {list(zoom)}: want [smallest, largest], 1 or more")
        require_within("data.batch_size", batch_size, 1)
        for name, value in (("seed", seed), ("jitter", jitter), ("max_unreadable", max_unreadable)):
            require_within(f"data.{name}", value)
        require_within("data.rare_probability", rare_probability, 0, 1)
        if pseudo_confidence is not None:
            require_within("data.pseudo_confidence", pseudo_confidence, 0, 1)
        for name, value in (("min_confidence", min_confidence), ("val_min_confidence", val_min_confidence)):
            require_within(f"data.{name}", value, 0, 255)
        self.zoom = zoom
        self.jitter = jitter
        self.rare_probability = rare_probability
        self.rare_classes = rare_classes
        self.min_confidence = min_confidence
        self.val_min_confidence = val_min_confidence
        self.pseudo_confidence = pseudo_confidence
        self.pseudo_weighted = pseudo_weighted
        self.cache = cache
        self.reduced_decoding = reduced_decoding
        self.max_unreadable = max_unreadable
        self.pseudo_labels_by: str | None = None
        """SHA-256 of the teacher's file whose labels training takes; known from `setup` on."""
        self._index: PreparedIndex | None = None

    @property
    def prepared_folder(self) -> str | Path:
        """Where the prepared set is, or will be."""
        if is_url(self.root) or (Path(self.root) / HEADER_FILE).is_file():
            return self.root
        return self.prepared or beside(Path(self.root))

    @property
    def index(self) -> PreparedIndex:
        """The prepared set; `prepare_data` must have run where `root` is a raw tree."""
        if self._index is None:
            self._index = open_index(self.prepared_folder)
        return self._index

    def prepare_data(self) -> None:
        """Prepares a raw tree; once, on one process of each node."""
        folder = self.prepared_folder
        if not isinstance(folder, Path):
            return  # `root` is a prepared set itself
        if (folder / HEADER_FILE).is_file():
            warn_of_more(Path(self.root), self.index)
        else:
            prepare_tree(Path(self.root), folder)

    def _source(self) -> PlaneSource:
        """What training reads: the cache, or the tree where there is none."""
        found = find_cache(self.prepared_folder, self.index.header, self.cache)
        if found is not None:
            return CacheSource(self.index, *found)
        if not self.index.has_tree:
            raise DatasetError(f"{self.prepared_folder}: neither a cache nor the tree is here")
        if self.cache == "auto":
            logger.info("%s has no cache: reading full-size images, which takes longer", self.prepared_folder)
        # The most zoomed window must still hold the net's input.
        enough = (round(self.size[0] * self.zoom[1]), round(self.size[1] * self.zoom[1]))
        return TreeSource(self.index, enough if self.reduced_decoding else None)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            record = self.index.pseudo_teacher() if self.pseudo_confidence is not None else None
            self.pseudo_labels_by = None if record is None else record["teacher_sha256"]
            self._warn_of_confidence(self._samples("train"), "min_confidence", self.min_confidence)
        self._warn_of_confidence(self._samples("val"), "val_min_confidence", self.val_min_confidence)

    def _warn_of_confidence(self, samples: list[Sample], option: str, least: int) -> None:
        """Says where a limit leaves no depth, as nothing else would; the first few samples are asked."""
        asked = [sample for sample in samples if sample.confidence is not None][:_ASKED]
        if not asked or not self.index.has_tree or self._place()[0]:
            return
        if not any(self._has_depth(sample, least) for sample in asked):
            logger.warning(
                "%s: no depth of %s is as certain as data.%s %d: none counts; a lower one takes more",
                self.prepared_folder,
                ", ".join(sample.id for sample in asked),
                option,
                least,
            )

    def _has_depth(self, sample: Sample, least: int) -> bool:
        try:
            depth = self.index.load_depth(sample, least)
        except DatasetError:
            return True  # training names it, and goes on
        return depth is not None and bool(np.isfinite(depth).any())

    def _samples(self, split: str) -> list[Sample]:
        samples = [sample for sample in self.index.split(split) if self.ratios.get(sample.source)]
        if not samples:
            raise DatasetError(
                f"{self.prepared_folder}: no {split} sample of {', '.join(self.ratios)}; "
                "`trainer prepare` prints which folders went where and --val-folders moves them"
            )
        return samples

    def _loader(self, dataset: SafetripDataset, **options: Any) -> SampleLoader:
        return SampleLoader(
            dataset,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=_on_gpu(self.trainer),
            max_unreadable=self.max_unreadable,
            **options,
        )

    def _place(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> SampleLoader:
        samples = self._samples("train")
        dataset = SafetripDataset(
            self.index,
            samples,
            TrainingTransform(
                self.size,
                self.zoom,
                self.jitter,
                rare_classes=self._rare_classes(),
                rare_probability=self.rare_probability,
            ),
            self.min_confidence,
            self.pseudo_confidence,
            self.pseudo_weighted,
            self._source(),
            unreadable="replace",
            tries=self.max_unreadable + 1,
        )
        order = BalancedOrder([sample.source for sample in samples], self.ratios, len(samples), self.seed)
        return self._loader(
            dataset, batch_sampler=BalancedBatchSampler(order, self.batch_size, *self._place())
        )

    def _rare_classes(self) -> list[int]:
        """Ids of the classes that crops are drawn to."""
        if self.rare_classes is not None:
            unknown = sorted(set(self.rare_classes) - set(CLASS_NAMES))
            if unknown:
                raise DatasetError(f"data.rare_classes: no class {', '.join(unknown)}")
            return [CLASS_NAMES.index(name) for name in self.rare_classes]
        pixels = total_pixels(sample.pixels or {} for sample in self.index.split("train"))
        return [int(label) for label in np.flatnonzero(pixels < _RARE_SHARE * pixels.sum())]

    def val_dataloader(self) -> SampleLoader:
        samples = self._samples("val")
        if len(samples) < self._place()[1]:
            raise DatasetError(
                f"{self.prepared_folder}: {len(samples)} val sample(s) for {self._place()[1]} processes, "
                "which need one each: `trainer prepare --val-folders` gives more, --trainer.devices fewer"
            )
        # At full size, as on the robot, wherever the full size is to be had.
        source = TreeSource(self.index) if self.index.has_tree else self._source()
        dataset = SafetripDataset(
            self.index,
            samples,
            evaluation_transform(self.size),
            self.val_min_confidence,
            pseudo_confidence=None,
            source=source,
            unreadable="blank",
        )
        return self._loader(
            dataset, batch_size=self.batch_size, sampler=ShardSampler(len(samples), *self._place())
        )

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader


def _size(given: tuple[int, int] | str) -> tuple[int, int]:
    """(height, width) of two numbers or of `288x512`."""
    sides = given.lower().split("x") if isinstance(given, str) else given
    try:
        height, width = (int(side) for side in sides)
    except ValueError:
        raise DatasetError(f"data.size {given!r}: want HEIGHTxWIDTH, such as 288x512") from None
    return height, width


def _checked(ratios: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(ratios) - set(SOURCES))
    if unknown:
        raise DatasetError(f"data.ratios: no source {', '.join(unknown)}; there are {', '.join(SOURCES)}")
    if not (min(ratios.values()) >= 0 and 0 < sum(ratios.values()) < math.inf):
        raise DatasetError(f"data.ratios {ratios}: want shares, 0 or more, and one above 0")
    return ratios


def _on_gpu(trainer: L.Trainer | None) -> bool:
    return trainer is not None and type(trainer.accelerator).__name__ == "CUDAAccelerator"
