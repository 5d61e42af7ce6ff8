"""The prepared index: which samples there are, where their files lie, and how to read them.

On disk under PREPARED: `prepared.json` (the header; replaced last, so that its presence means "complete"),
`index-<hash>.jsonl` (one sample a line), `masks/` and `pseudo/` (8-bit PNG).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from safetrip_trainer.classes import NUM_CLASSES
from safetrip_trainer.data.files import is_inside, read_bytes, read_json
from safetrip_trainer.data.images import read_gray, read_image
from safetrip_trainer.data.kitti import decode_depth
from safetrip_trainer.data.stereo import disparity_to_depth
from safetrip_trainer.errors import DatasetError

__all__ = [
    "HEADER_FILE",
    "SCHEMA_VERSION",
    "SPLITS",
    "UNITS_FOLDER",
    "PreparedIndex",
    "Sample",
    "read_header",
]

SCHEMA_VERSION = 2
HEADER_FILE = "prepared.json"
UNITS_FOLDER = ".units"
"""What is done so far: there before the header is."""
SPLITS = ("train", "val")
_PATHS = ("id", "folder", "image", "mask", "disparity", "confidence", "depth")


@dataclass(frozen=True)
class Sample:
    """One frame and where its labels lie.

    `id` "Surface/Surface_001/name"; `source` "surface", "polygon", "depth" or "kitti"; `folder`
    "Surface/Surface_001"; `width`, `height` of the image in pixels; `image`, `disparity`, `confidence` and
    `depth` relative to the tree, `mask` relative to PREPARED; `baseline` in metres and `fx` in pixels where
    there is a disparity; `pixels` counts the mask's pixels per class id that occurs; `digest` is of the
    content of every input.
    """

    id: str
    source: str
    folder: str
    split: str
    width: int
    height: int
    image: str
    digest: str
    mask: str | None = None
    disparity: str | None = None
    confidence: str | None = None
    baseline: float | None = None
    fx: float | None = None
    pixels: Mapping[int, int] | None = None
    depth: str | None = None

    @property
    def depth_file(self) -> str | None:
        """The 16-bit file that holds its depth or disparity."""
        return self.depth or self.disparity

    @property
    def pseudo(self) -> tuple[str, str]:
        """Where a teacher's labels and confidence of it belong, relative to PREPARED.

        Named by content: where the image was replaced, another one's labels are not taken for its own.
        """
        base = f"pseudo/{self.id}.{self.digest[:12]}"
        return f"{base}_labels.png", f"{base}_confidence.png"

    def to_metres(self, stored: np.ndarray) -> np.ndarray:
        """(H, W) uint16 as in `depth_file` to (H, W) float32 metres, NaN unknown."""
        if self.baseline is None or self.fx is None:
            return decode_depth(stored)
        return disparity_to_depth(stored, self.baseline, self.fx)

    def to_json(self) -> dict[str, Any]:
        """Without the fields that are None."""
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sample:
        """The inverse of `to_json`; TypeError for missing or unknown fields, ValueError for a path that leads
        out of the tree: an index may come from an object store, and files are named by it.
        """
        values = dict(value)
        if values.get("pixels") is not None:
            values["pixels"] = {int(key): int(count) for key, count in values["pixels"].items()}
        unknown = set(values) - {item.name for item in fields(cls)}
        if unknown:
            raise TypeError(f"unknown fields {sorted(unknown)}")
        for key in _PATHS:
            if values.get(key) is not None and not is_inside(values[key]):
                raise ValueError(f"{key} {values[key]!r} leads out of the tree")
        return cls(**values)


@dataclass(frozen=True)
class PreparedIndex:
    """What `trainer prepare` wrote, loaded. `root`: the tree, `prepared`: the folder of masks and index.

    `class_weights` (24,) float32 for the cross-entropy; `data_hash` is of every sample's content and split;
    `header` is prepared.json as it stands.
    """

    root: Path
    prepared: Path
    samples: tuple[Sample, ...]
    class_weights: np.ndarray
    data_hash: str
    header: Mapping[str, Any]

    @classmethod
    def load(
        cls,
        prepared: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        need_tree: bool = True,
    ) -> PreparedIndex:
        """Open PREPARED; `root` where the tree has moved.

        Raises DatasetError where PREPARED is absent, incomplete, damaged or newer than this version, or the
        tree is gone (which `need_tree=False` allows: a cache may have all that is needed).
        """
        folder = Path(prepared)
        header = read_header(folder)
        samples = tuple(_read_samples(folder / str(header["index"])))
        if len(samples) != header["count"]:
            found = f"{len(samples)} samples in {header['index']}, {header['count']} expected"
            raise DatasetError(f"{folder}: damaged ({found}); run 'trainer prepare' again")
        weights = np.array(header["class_weights"], dtype=np.float32)
        if weights.shape != (NUM_CLASSES,):
            raise DatasetError(
                f"{folder}: {weights.size} class weights, {NUM_CLASSES} expected; prepare it again"
            )
        try:
            tree = _find_root(folder, header, None if root is None else Path(root), samples)
        except DatasetError:
            if need_tree:
                raise
            tree = Path(header["root"])
        return cls(tree, folder, samples, weights, str(header["data_hash"]), header)

    @property
    def has_tree(self) -> bool:
        """Whether full-size images and the masks drawn of them can be read here.

        A cache of its own, at a URL say, has no masks, even where the tree happens to be on this machine.
        """
        if not self.samples:
            return False
        mask = next((sample.mask for sample in self.samples if sample.mask), None)
        has_masks = mask is None or (self.prepared / mask).exists()
        return has_masks and (self.root / self.samples[0].image).exists()

    @cached_property
    def _by_split(self) -> dict[str, list[Sample]]:
        return {name: [sample for sample in self.samples if sample.split == name] for name in SPLITS}

    def split(self, name: str) -> list[Sample]:
        """The samples of "train", "val" or "all", in a fixed order."""
        if name == "all":
            return list(self.samples)
        if name not in SPLITS:
            raise DatasetError(f"no split {name!r}; there are {', '.join(SPLITS)} and all")
        return list(self._by_split[name])

    def load_image(self, sample: Sample, min_size: tuple[int, int] | None = None) -> np.ndarray:
        """(H, W, 3) uint8 BGR; `min_size` (h, w) allows a JPEG at 1/2, 1/4 or 1/8 that is at least so large.

        Raises DatasetError naming the path where it is missing, truncated or damaged.
        """
        return read_image(self.root / sample.image, min_size)

    def load_mask(self, sample: Sample) -> np.ndarray | None:
        """(H, W) uint8 class ids, 255 unlabelled; None for a sample without annotation."""
        return None if sample.mask is None else read_gray(self.prepared / sample.mask)

    def load_depth(self, sample: Sample, min_confidence: int = 1) -> np.ndarray | None:
        """(H, W) float32 metres, NaN where unknown or less certain; None for a sample without depth."""
        if sample.depth_file is None:
            return None
        depth = sample.to_metres(read_gray(self.root / sample.depth_file, np.uint16))
        if sample.confidence is not None:
            depth[read_gray(self.root / sample.confidence) < min_confidence] = np.nan
        return depth

    def pseudo_paths(self, sample: Sample) -> tuple[Path, Path]:
        """Where a teacher's labels and confidence (8-bit PNG both) of this sample belong."""
        labels, confidence = sample.pseudo
        return self.prepared / labels, self.prepared / confidence

    def load_pseudo(self, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        """(labels, confidence), (H, W) uint8 each, confidence 255 = certain; None where there are none."""
        labels, confidence = self.pseudo_paths(sample)
        if not (labels.exists() and confidence.exists()):
            return None
        return read_gray(labels), read_gray(confidence)

    @property
    def pseudo_record(self) -> Path:
        """What `trainer pseudo-label` says of the teacher whose labels these are."""
        return self.prepared / "pseudo" / "teacher.json"

    def pseudo_teacher(self) -> dict[str, Any] | None:
        """The content of `pseudo_record`: `teacher_sha256`, `input_size` and `flip`, and the file's name;
        None where no teacher has labelled anything.
        """
        if not self.pseudo_record.is_file():
            return None
        record: dict[str, Any] = read_json(self.pseudo_record)
        if not (isinstance(record, dict) and isinstance(record.get("teacher_sha256"), str)):
            raise DatasetError(f"{self.pseudo_record}: damaged; run 'trainer pseudo-label --overwrite' again")
        return record


def read_header(folder: Path) -> dict[str, Any]:
    """prepared.json, with all that `PreparedIndex` needs; DatasetError for anything else."""
    path = folder / HEADER_FILE
    if not path.is_file():
        from safetrip_trainer.data.not_prepared import explain

        raise DatasetError(f"{folder}: {explain(folder)}")
    header: dict[str, Any] = read_json(path)
    version = header.get("schema_version") if isinstance(header, dict) else None
    if not isinstance(version, int):
        raise DatasetError(f"{path}: damaged; run 'trainer prepare' again")
    if version > SCHEMA_VERSION:
        raise DatasetError(
            f"{path}: schema {version} is newer than this version's {SCHEMA_VERSION}; "
            "update safetrip, or prepare the tree again"
        )
    missing = {"index", "count", "class_weights", "data_hash", "root", "root_relative"} - set(header)
    if missing:
        raise DatasetError(f"{path}: damaged (no {', '.join(sorted(missing))}); run 'trainer prepare' again")
    return header


def _read_samples(path: Path) -> Iterable[Sample]:
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            yield Sample.from_json(json.loads(line))
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path}: line {number} damaged ({error}); run 'trainer prepare' again"
            ) from error


def _find_root(
    folder: Path, header: Mapping[str, Any], given: Path | None, samples: tuple[Sample, ...]
) -> Path:
    """The tree: where the caller says, else beside PREPARED as it was, else at its absolute path."""
    if given is not None:
        candidates = [given]
    else:
        candidates = [
            Path(os.path.normpath(folder.resolve() / header["root_relative"])),
            Path(header["root"]),
        ]
    for candidate in candidates:
        if candidate.is_dir() and (not samples or (candidate / samples[0].image).exists()):
            return candidate
    where = " or ".join(str(path) for path in dict.fromkeys(candidates))
    raise DatasetError(
        f"{folder}: its tree is gone (looked in {where}); move it back, or tell where it is now: "
        f"'trainer prepare NEW_PLACE --out {folder}' takes all that is unchanged"
    )
