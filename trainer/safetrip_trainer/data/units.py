"""`prepare`'s units run, one after the other, in each process.

A unit's result is kept under PREPARED/.units with the size and time of every file it was made from; a second
run takes it from there where nothing changed. That is what makes `prepare` resumable and incremental.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.cache import CacheSpec, Shard, ShardWriter, Store
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.folder import Folder
from safetrip_trainer.data.images import probe_image
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.kitti_frames import kitti_frames
from safetrip_trainer.data.kitti_tree import kitti_files
from safetrip_trainer.data.png import encode_plane
from safetrip_trainer.data.polygon_frames import polygon_frames, same_stem
from safetrip_trainer.data.problems import Problem
from safetrip_trainer.data.stereo_frames import SUFFIXES, stereo_frames
from safetrip_trainer.data.unit import Unit, UnitResult
from safetrip_trainer.errors import DatasetError

__all__ = ["make_units", "run_unit"]

# Small enough that a killed run loses little and two cores share one folder; large enough that the folder's
# XML, parsed once per process and folder, does not count.
UNIT_SIZE = 32
_UNITS_VERSION = 4
_FRAMES = {
    "surface": polygon_frames,
    "polygon": polygon_frames,
    "depth": stereo_frames,
    "kitti": kitti_frames,
}


def make_units(
    root: Path, prepared: Path, folders: tuple[Folder, ...], cache: CacheSpec | None = None
) -> list[Unit]:
    """Cut every folder into parts of at most 32 samples."""
    return [
        Unit(root, prepared, folder, number, folder.names[start : start + UNIT_SIZE], cache, rivals)
        for folder in folders
        for rivals in (same_stem(folder.names) if _FRAMES[folder.source] is polygon_frames else (),)
        for number, start in enumerate(range(0, len(folder.names), UNIT_SIZE))
    ]


def run_unit(unit: Unit) -> UnitResult:
    """Check and rasterise a unit, or take the result of an earlier run on the same files.

    Raises DatasetError only where PREPARED or the cache cannot be written.
    """
    signature = _signature(unit)
    known = _load(unit, signature)
    if known is not None:
        return known
    result = UnitResult()
    shard = None
    if unit.cache is not None:
        shard = ShardWriter(unit.cache, f"shards/{unit.folder.path}/{unit.number:04d}")
    for frame in _FRAMES[unit.folder.source](unit, result):
        sample = frame.sample
        mask = None if frame.mask is None else encode_plane(frame.mask)
        if shard is not None:
            try:
                shard.add(frame)
            except DatasetError as error:
                result.report(sample.image, error, unit.root)
                continue
        if sample.mask is not None and mask is not None:
            write_atomic(unit.prepared / sample.mask, mask, sync=False)
        result.samples.append(sample)
    if shard is not None and unit.cache is not None:
        result.shard = shard.finish(Store(unit.cache.place))
    _save(unit, signature, result)
    return result


def _save(unit: Unit, signature: str, result: UnitResult) -> None:
    content = {
        "signature": signature,
        "samples": [sample.to_json() for sample in result.samples],
        "problems": [[problem.path, problem.reason] for problem in result.problems],
        "dropped": dict(result.dropped),
        "shard": None if result.shard is None else result.shard.to_json(),
    }
    write_atomic(unit.record, json.dumps(content).encode(), sync=False)


def _inputs(unit: Unit) -> Iterator[str]:
    """Every file the unit is made from, relative to the tree."""
    folder = unit.folder
    if folder.source == "kitti":
        for name in unit.names:
            yield from kitti_files(folder, name)
        return
    suffixes = SUFFIXES if folder.source == "depth" else ("",)
    yield from (f"{folder.path}/{name}" for name in folder.metadata)
    yield from (f"{folder.path}/{name}{suffix}" for name in unit.names for suffix in suffixes)


def _signature(unit: Unit) -> str:
    """Of every input's name, size and time, and of what else decides the result."""
    cache = None if unit.cache is None else (unit.cache.min_size, unit.cache.raw)
    state: list[object] = [_UNITS_VERSION, CLASS_NAMES, unit.folder.path, cache]
    if unit.number == 0:  # the first unit also reports what the XML names beyond the files there are
        state.append(unit.folder.names)
    state += unit.rivals
    for name in _inputs(unit):
        try:
            stat = (unit.root / name).stat()
            state.append((name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            state.append((name, None, None))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _load(unit: Unit, signature: str) -> UnitResult | None:
    try:
        content = json.loads(unit.record.read_bytes())
        if content["signature"] != signature:
            return None
        samples = [Sample.from_json(value) for value in content["samples"]]
        for sample in samples:
            # Written without fsync: a power cut may leave a name without its bytes. Reading 8 KB masks again
            # costs little beside the images.
            if sample.mask is not None:
                path = unit.prepared / sample.mask
                probe_image(path.read_bytes(), path)
        shard = None if content["shard"] is None else Shard.from_json(content["shard"])
        if shard is not None and not (unit.cache and Store(unit.cache.place).exists(shard.name, shard.size)):
            return None
        problems = [Problem(path, reason) for path, reason in content["problems"]]
        return UnitResult(samples, problems, Counter(content["dropped"]), shard, reused=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, DatasetError):
        return None  # absent or damaged: done again, which is always right
