"""One unit of `prepare`'s work: some images of one folder, checked, rasterised and counted in one process.

A unit's result is kept under PREPARED/.units with the size and time of every file it was made from; a second
run takes it from there where nothing changed. That is what makes `prepare` resumable and incremental.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.data.cvat import AnnotatedImage, Annotations, parse_cvat
from safetrip_trainer.data.files import read_bytes, write_atomic
from safetrip_trainer.data.images import encode_png, probe_image, read_gray
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.problems import Problem
from safetrip_trainer.data.rasterize import rasterize
from safetrip_trainer.data.statistics import count_pixels
from safetrip_trainer.data.stereo import StereoCalibration, parse_conf
from safetrip_trainer.data.tree import Folder
from safetrip_trainer.errors import DatasetError

__all__ = ["Unit", "UnitResult", "make_units", "run_unit"]

# Small enough that a killed run loses little and two cores share one folder; large enough that the folder's
# XML, parsed once per process and folder, does not count.
UNIT_SIZE = 32
_UNITS_VERSION = 1
_DEPTH_SUFFIXES = ("_L.png", "_disp16.png", "_confidence_save.png", "_confidence.png")


@dataclass(frozen=True)
class Unit:
    """The `number`-th part of a folder: `names` of it, read below `root`, written below `prepared`."""

    root: Path
    prepared: Path
    folder: Folder
    number: int
    names: tuple[str, ...]

    @property
    def cache(self) -> Path:
        """Where the unit's result is kept."""
        return self.prepared / ".units" / self.folder.path / f"{self.number:04d}.json"


@dataclass
class UnitResult:
    """Usable samples (their split still empty), problems, and counts of what was dropped by design."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    reused: bool = False

    def report(self, path: str, error: DatasetError | str, root: Path) -> None:
        """Add a problem; an error's own mention of the path is not said twice."""
        self.problems.append(Problem(path, str(error).removeprefix(f"{root / path}: ")))


def make_units(root: Path, prepared: Path, folders: tuple[Folder, ...]) -> list[Unit]:
    """Cut every folder into parts of at most 32 samples."""
    return [
        Unit(root, prepared, folder, number, folder.names[start : start + UNIT_SIZE])
        for folder in folders
        for number, start in enumerate(range(0, len(folder.names), UNIT_SIZE))
    ]


def run_unit(unit: Unit) -> UnitResult:
    """Check and rasterise a unit, or take the result of an earlier run on the same files.

    Raises DatasetError only where PREPARED cannot be written.
    """
    signature = _signature(unit)
    known = _load(unit, signature)
    if known is not None:
        return known
    result = UnitResult()
    (_run_depth if unit.folder.source == "depth" else _run_annotated)(unit, result)
    content = {
        "signature": signature,
        "samples": [sample.to_json() for sample in result.samples],
        "problems": [[problem.path, problem.reason] for problem in result.problems],
        "dropped": dict(result.dropped),
    }
    write_atomic(unit.cache, json.dumps(content).encode(), sync=False)
    return result


def _signature(unit: Unit) -> str:
    """Of every input's name, size and time, and of what else decides the result."""
    folder = unit.root / unit.folder.path
    suffixes = _DEPTH_SUFFIXES if unit.folder.source == "depth" else ("",)
    files = [*unit.folder.metadata, *(name + suffix for name in unit.names for suffix in suffixes)]
    state: list[object] = [_UNITS_VERSION, CLASS_NAMES, unit.folder.path]
    if unit.number == 0:  # the first unit also reports what the XML names beyond the files there are
        state.append(unit.folder.names)
    for name in files:
        try:
            stat = (folder / name).stat()
            state.append((name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            state.append((name, None, None))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _load(unit: Unit, signature: str) -> UnitResult | None:
    try:
        content = json.loads(unit.cache.read_bytes())
        if content["signature"] != signature:
            return None
        samples = [Sample.from_json(value) for value in content["samples"]]
        for sample in samples:
            # Written without fsync: a power cut may leave a name without its bytes. Reading 8 KB masks again
            # costs little beside the images.
            if sample.mask is not None:
                path = unit.prepared / sample.mask
                probe_image(path.read_bytes(), path)
        problems = [Problem(path, reason) for path, reason in content["problems"]]
        return UnitResult(samples, problems, Counter(content["dropped"]), reused=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DatasetError):
        return None  # absent or damaged: done again, which is always right


def _run_annotated(unit: Unit, result: UnitResult) -> None:
    annotations = Annotations()
    for name in unit.folder.metadata:
        file = unit.root / unit.folder.path / name
        try:
            parsed = _parse_once(file, file.stat().st_mtime_ns)
        except (DatasetError, OSError) as error:
            if unit.number == 0:
                count = len(unit.folder.names)
                result.report(
                    f"{unit.folder.path}/{name}",
                    DatasetError(f"{error}; {count} image(s) left out"),
                    unit.root,
                )
            if len(unit.folder.metadata) == 1:
                return
            continue
        _merge(annotations, parsed)
    if unit.number == 0:
        _report_folder(unit, annotations, result)
    for name in unit.names:
        path = f"{unit.folder.path}/{name}"
        for reason in annotations.problems.get(name, ()):
            result.report(path, reason, unit.root)
        result.dropped.update(annotations.dropped.get(name, {}))
        image = annotations.images.get(name)
        if image is None:
            if not annotations.problems.get(name):
                result.report(path, f"not in {', '.join(unit.folder.metadata)}: no annotation", unit.root)
            continue
        try:
            sample, mask = _annotated_sample(unit, path, image)
        except DatasetError as error:
            result.report(path, error, unit.root)
            continue
        write_atomic(unit.prepared / str(sample.mask), encode_png(mask), sync=False)
        result.samples.append(sample)


@lru_cache(maxsize=1)
def _parse_once(path: Path, changed: int) -> Annotations:
    """The folder's XML, kept for the folder's next unit in this process; `changed` is part of the key."""
    return parse_cvat(path)


def _merge(annotations: Annotations, other: Annotations) -> None:
    """Several XML files of one folder: the first that names an image holds."""
    for name, image in other.images.items():
        if name in annotations.images:
            annotations.problems.setdefault(name, []).append("annotated in two XML files; the first is used")
            continue
        annotations.images[name] = image
        annotations.dropped[name] = other.dropped.get(name, Counter())
    for name, reasons in other.problems.items():
        annotations.problems.setdefault(name, []).extend(reasons)
    annotations.file_problems.extend(other.file_problems)


def _report_folder(unit: Unit, annotations: Annotations, result: UnitResult) -> None:
    for problem in annotations.file_problems:
        result.report(str(Path(problem.path).relative_to(unit.root)), problem.reason, unit.root)
    present = set(unit.folder.names)
    for name in annotations.images:
        if name not in present:
            result.report(f"{unit.folder.path}/{name}", "annotated, but there is no such file", unit.root)


def _annotated_sample(unit: Unit, path: str, annotated: AnnotatedImage) -> tuple[Sample, np.ndarray]:
    data = read_bytes(unit.root / path)
    info = probe_image(data, unit.root / path)
    if (info.width, info.height) != (annotated.width, annotated.height):
        raise DatasetError(
            f"the image is {info.width}x{info.height}, its annotation {annotated.width}x{annotated.height}; "
            "annotate the image as it is"
        )
    if not annotated.polygons:
        raise DatasetError("no usable polygon of a known class")
    mask = rasterize(annotated.polygons, info.height, info.width)
    pixels = count_pixels(mask)
    if not pixels:
        raise DatasetError("its polygons cover no pixel of the image")
    digest = _digest(data, mask.tobytes())
    stem = path.rsplit(".", 1)[0]
    # Named by content: the masks of the index that stands stay as they are until the new index replaces it.
    target = f"masks/{stem}.{digest[:12]}.png"
    sample = Sample(
        id=stem,
        source=unit.folder.source,
        folder=unit.folder.path,
        split="",
        width=info.width,
        height=info.height,
        image=path,
        digest=digest,
        mask=target,
        pixels=pixels,
    )
    return sample, mask


def _run_depth(unit: Unit, result: UnitResult) -> None:
    conf = f"{unit.folder.path}/{unit.folder.metadata[0]}"
    try:
        calibration = parse_conf(unit.root / conf)
    except DatasetError as error:
        if unit.number == 0:
            count = len(unit.folder.names)
            result.report(conf, DatasetError(f"{error}; {count} sample(s) left out"), unit.root)
        return
    for name in unit.names:
        path = f"{unit.folder.path}/{name}"
        try:
            result.samples.append(_depth_sample(unit, path, calibration))
        except DatasetError as error:
            files = (f"{path}{suffix}" for suffix in _DEPTH_SUFFIXES)
            culprit = next((file for file in files if str(error).startswith(f"{unit.root / file}: ")), path)
            result.report(culprit, error, unit.root)


def _depth_sample(unit: Unit, path: str, calibration: StereoCalibration) -> Sample:
    image = f"{path}_L.png"
    data = read_bytes(unit.root / image)
    info = probe_image(data, unit.root / image)
    disparity_path = f"{path}_disp16.png"
    disparity = read_gray(unit.root / disparity_path, np.uint16)
    arrays = [disparity]
    confidence_path = next(_existing(unit.root, path, "_confidence_save.png", "_confidence.png"), None)
    if confidence_path is not None:
        arrays.append(read_gray(unit.root / confidence_path))
    for file, array in zip((disparity_path, confidence_path), arrays):
        if array.shape != (info.height, info.width):
            size = f"{array.shape[1]}x{array.shape[0]}"
            raise DatasetError(
                f"{unit.root / str(file)}: {size}, its left image is {info.width}x{info.height}"
            )
    known = arrays[0] > 0
    if len(arrays) > 1:
        known &= arrays[1] > 0
    if not known.any():
        raise DatasetError(f"{unit.root / disparity_path}: no pixel with a disparity and confidence above 0")
    scale = np.array([calibration.baseline, calibration.fx]).tobytes()
    return Sample(
        id=path,
        source="depth",
        folder=unit.folder.path,
        split="",
        width=info.width,
        height=info.height,
        image=image,
        digest=_digest(data, scale, *(array.tobytes() for array in arrays)),
        disparity=disparity_path,
        confidence=confidence_path,
        baseline=calibration.baseline,
        fx=calibration.fx,
    )


def _existing(root: Path, path: str, *suffixes: str) -> Iterator[str]:
    return (f"{path}{suffix}" for suffix in suffixes if (root / f"{path}{suffix}").exists())


def _digest(*parts: bytes) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.hexdigest()
