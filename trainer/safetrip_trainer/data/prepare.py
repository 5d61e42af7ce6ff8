"""`trainer prepare`: a tree in, a complete PREPARED out, on every core."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from safetrip_trainer.classes import CLASS_NAMES, COLORS, IGNORE, class_kind, color_map
from safetrip_trainer.data.cache import CacheManifest, CacheSpec, Shard
from safetrip_trainer.data.cache.locate import CACHE_FOLDER, named_cache
from safetrip_trainer.data.cache.publish import publish, remove_stale_shards
from safetrip_trainer.data.cache.store import is_url, plain
from safetrip_trainer.data.files import write_atomic, write_json
from safetrip_trainer.data.folder import Folder
from safetrip_trainer.data.index import HEADER_FILE, SCHEMA_VERSION, UNITS_FOLDER, PreparedIndex, Sample
from safetrip_trainer.data.parallel import map_processes
from safetrip_trainer.data.problems import Problem
from safetrip_trainer.data.splits import split_by_fraction, split_by_name
from safetrip_trainer.data.statistics import class_weights, total_pixels
from safetrip_trainer.data.tree import Tree, scan_tree
from safetrip_trainer.data.unit import Unit, UnitResult
from safetrip_trainer.data.units import make_units, run_unit
from safetrip_trainer.errors import DatasetError

__all__ = ["PrepareOptions", "PrepareReport", "prepare"]

WEIGHTS_FILE = f"class_weights_{len(CLASS_NAMES)}.npy"
COLORS_FILE = f"cmap_safetrip_{len(CLASS_NAMES)}.npy"


@dataclass(frozen=True)
class PrepareOptions:
    """`val_folders` names them; without, `val_fraction` of each source's folders, drawn by `seed`.

    `workers` processes (None: one per core). `cache_size`: (h, w) that the training cache's images at least
    have; None writes no cache. `cache` is its path or URL; PREPARED/cache where there is none. `cache_codec`
    of its images: "raw", "jpeg", or "auto": raw on a disk, JPEG on an object store.
    """

    val_folders: tuple[str, ...] = ()
    val_fraction: float = 0.2
    seed: int = 0
    workers: int | None = None
    progress: bool = True
    cache_size: tuple[int, int] | None = (512, 512)
    cache: str | None = None
    cache_codec: Literal["auto", "raw", "jpeg"] = "auto"

    def spec(self, prepared: Path) -> CacheSpec | None:
        """Of the cache to write for `prepared`."""
        if self.cache_size is None:
            return None
        place = plain(self.cache or prepared / CACHE_FOLDER)
        remote = is_url(place)
        raw = self.cache_codec == "raw" or (self.cache_codec == "auto" and not remote)
        return CacheSpec(place if remote else str(Path(place).absolute()), self.cache_size, raw)


@dataclass(frozen=True)
class PrepareReport:
    """What came out: the index as it loads, and what did not go in.

    `dropped` counts shapes by reason ("label cat"), `reused` samples taken from an earlier run, `notes` what
    the split could not do.
    """

    index: PreparedIndex
    problems: tuple[Problem, ...]
    dropped: Counter[str]
    notes: tuple[str, ...]
    reused: int


def prepare(
    root: str | os.PathLike[str], out: str | os.PathLike[str], options: PrepareOptions | None = None
) -> PrepareReport:
    """Read the tree at `root`, write PREPARED at `out`.

    A PREPARED that stood there stays valid until the new one is complete. Raises DatasetError where `root` is
    no tree, nothing in it is usable, `out` holds something else, or cannot be written.
    """
    options = options or PrepareOptions()
    tree = scan_tree(Path(root))
    prepared = Path(out)
    _splits(tree.folders, options)  # what it refuses is better known before the images are read
    began = _claim(prepared)
    spec = options.spec(prepared)
    units = make_units(tree.root.absolute(), prepared.absolute(), tree.folders, spec)
    samples: list[Sample] = []
    shards: list[Shard] = []
    problems = list(tree.problems)
    dropped: Counter[str] = Counter()
    reused = 0
    for result in _run(units, options):
        samples += result.samples
        problems += result.problems
        dropped += result.dropped
        reused += len(result.samples) if result.reused else 0
        shards += [result.shard] if result.shard is not None else []
    problems = sorted(set(problems))
    if not samples:
        first = f"; first of {len(problems)}: {problems[0]}" if problems else ""
        raise DatasetError(f"{root}: nothing usable in it{first}")
    samples, notes = _split(tree, samples, options)
    _write(tree, prepared, samples, problems, dropped, notes, shards, options)
    _remove_abandoned(prepared, began)
    return PrepareReport(
        PreparedIndex.load(prepared, tree.root), tuple(problems), dropped, tuple(notes), reused
    )


def _claim(prepared: Path) -> float:
    """Makes OUT, or takes it where it is ours or empty: stale masks are removed from it at the end.

    Before anything is in it, so that a run killed at any moment goes on. Returns the time.
    """
    units = prepared / UNITS_FOLDER
    if prepared.exists() and not prepared.is_dir():
        raise DatasetError(f"{prepared}: is a file; give a folder for --out")
    ours = (prepared / HEADER_FILE).exists() or units.is_dir()
    if not ours and prepared.exists() and any(prepared.iterdir()):
        raise DatasetError(f"{prepared}: holds other files; give an empty or new folder for --out")
    try:
        units.mkdir(parents=True, exist_ok=True)
        os.utime(units)
        return units.stat().st_mtime
    except OSError as error:
        raise DatasetError(f"{prepared}: cannot be written: {error.strerror or error}") from error


def _run(units: Sequence[Unit], options: PrepareOptions) -> Iterator[UnitResult]:
    """Every unit's result, in order, on `options.workers` processes, with a bar counting images."""
    total = sum(len(unit.names) for unit in units)
    bar = tqdm(total=total, unit="img", desc="prepare", disable=not options.progress, dynamic_ncols=True)
    with closing(bar):
        for unit, result in zip(units, map_processes(run_unit, units, options.workers)):
            bar.update(len(unit.names))
            yield result


def _split(tree: Tree, samples: Iterable[Sample], options: PrepareOptions) -> tuple[list[Sample], list[str]]:
    """Samples with their split, by id. Folders that gave no sample take no part."""
    samples = sorted(samples, key=lambda sample: sample.id)
    used = {sample.folder for sample in samples}
    splits, notes = _splits([folder for folder in tree.folders if folder.path in used], options)
    return [replace(sample, split=splits[sample.folder]) for sample in samples], notes


def _splits(folders: Sequence[Folder], options: PrepareOptions) -> tuple[dict[str, str], list[str]]:
    if options.val_folders:
        return split_by_name(folders, options.val_folders)
    return split_by_fraction(folders, options.val_fraction, options.seed)


def _write(
    tree: Tree,
    prepared: Path,
    samples: Sequence[Sample],
    problems: Sequence[Problem],
    dropped: Counter[str],
    notes: Sequence[str],
    shards: Sequence[Shard],
    options: PrepareOptions,
) -> None:
    """All files, the header last: it is what makes PREPARED complete."""
    pixels = total_pixels(sample.pixels or {} for sample in samples if sample.split == "train")
    weights = class_weights(pixels)
    lines = "".join(json.dumps(sample.to_json(), ensure_ascii=False) + "\n" for sample in samples).encode()
    index_name = f"index-{hashlib.sha256(lines).hexdigest()[:12]}.jsonl"
    write_atomic(prepared / index_name, lines)
    write_atomic(prepared / WEIGHTS_FILE, _npy(weights))
    write_atomic(prepared / COLORS_FILE, _npy(color_map()))
    write_json(prepared / "class_info.json", _class_info())
    write_json(
        prepared / "problems.json",
        {
            "problems": [{"path": item.path, "reason": item.reason} for item in problems],
            "dropped_shapes": dict(sorted(dropped.items())),
            "notes": list(notes),
        },
    )
    root = tree.root.resolve()
    spec = options.spec(prepared)
    before, planes_before = named_cache(prepared), _planes_before(prepared)
    header: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "root": str(root),
        "root_relative": os.path.relpath(root, prepared.resolve()),
        "index": index_name,
        "count": len(samples),
        "data_hash": _data_hash(samples),
        "class_weights": [float(weight) for weight in weights],
        "class_weights_formula": "1 / ln(1.02 + p), mean 1 over classes in train (ENet, Paszke et al. 2016)",
        "train_pixels": [int(count) for count in pixels],
        "split": {
            "val_folders": sorted({sample.folder for sample in samples if sample.split == "val"}),
            "by": "name" if options.val_folders else f"fraction {options.val_fraction}, seed {options.seed}",
        },
    }
    if spec is not None:
        manifest = CacheManifest(spec.min_size, header["data_hash"], tuple(shards))
        if before is not None and before[0].absolute == spec.place:
            manifest = manifest.after(before[1])
        header["cache"] = publish(manifest, spec, header, prepared / index_name)
    write_json(prepared / HEADER_FILE, header)
    _remove_stale(prepared, index_name, planes_before | _planes(samples))
    remove_stale_shards(prepared, before)


def _data_hash(samples: Iterable[Sample]) -> str:
    """sha256 of each sample's id, split and content: equal for equal data, wherever it lies."""
    state = hashlib.sha256()
    for sample in samples:
        state.update(f"{sample.id}\0{sample.split}\0{sample.digest}\n".encode())
    return state.hexdigest()


def _class_info() -> dict[str, Any]:
    return {
        "ignore": IGNORE,
        "classes": [
            {"id": index, "name": name, "kind": class_kind(index), "color": list(COLORS[index])}
            for index, name in enumerate(CLASS_NAMES)
        ],
    }


def _npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _planes(samples: Iterable[Sample]) -> set[str | None]:
    """Masks and a teacher's labels, be they there or not, relative to PREPARED."""
    return {name for sample in samples for name in (sample.mask, *sample.pseudo)}


def _planes_before(prepared: Path) -> set[str | None]:
    """Of the PREPARED that stands."""
    try:
        return _planes(PreparedIndex.load(prepared, need_tree=False).samples)
    except DatasetError:
        return set()


def _remove_stale(prepared: Path, index_name: str, planes: set[str | None]) -> None:
    """What neither the new header nor the one before it names: a training may be reading that one's planes.

    Losing this race costs disk space only.
    """
    for path in prepared.glob("index-*.jsonl"):
        if path.name != index_name:
            path.unlink(missing_ok=True)
    for path in chain((prepared / "masks").rglob("*.png"), (prepared / "pseudo").rglob("*.png")):
        if path.relative_to(prepared).as_posix() not in planes:
            path.unlink(missing_ok=True)


def _remove_abandoned(prepared: Path, began: float) -> None:
    """What runs that were killed had begun to write, under names of `atomic.sibling`."""
    for path in prepared.rglob(".*.tmp"):
        with suppress(OSError):
            if path.stat().st_mtime < began:
                path.unlink()
