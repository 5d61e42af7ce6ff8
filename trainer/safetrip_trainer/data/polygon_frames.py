"""Surface and polygon folders: an image's polygons, checked and rasterised once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from safetrip_trainer.data.cvat import AnnotatedImage, Annotations, parse_cvat
from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.images import probe_image
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.rasterize import rasterize
from safetrip_trainer.data.statistics import count_pixels
from safetrip_trainer.data.unit import Unit, UnitResult, content_digest
from safetrip_trainer.errors import DatasetError

__all__ = ["polygon_frames", "same_stem"]


def polygon_frames(unit: Unit, result: UnitResult) -> Iterator[Frame]:
    """Every usable image of a unit; what is not usable goes to `result`."""
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
    _keep_first_of_stem(unit.rivals, annotations)
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
            frame = _frame(unit, path, image)
        except DatasetError as error:
            result.report(path, error, unit.root)
            continue
        yield frame


def same_stem(names: Sequence[str]) -> tuple[str, ...]:
    """Those that differ from another one in their suffix only, in order: a sample's name has none."""
    count = Counter(map(_stem, names))
    return tuple(name for name in names if count[_stem(name)] > 1)


def _keep_first_of_stem(rivals: Sequence[str], annotations: Annotations) -> None:
    """Of those that would be one sample, the first that is annotated."""
    kept: dict[str, str] = {}
    for name in rivals:
        if name in annotations.images:
            first = kept.setdefault(_stem(name), name)
            if first != name:
                del annotations.images[name]
                reason = f"named as {first} but for its suffix: that one is used; rename one"
                annotations.problems.setdefault(name, []).append(reason)


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


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


def _frame(unit: Unit, path: str, annotated: AnnotatedImage) -> Frame:
    data = read_bytes(unit.root / path)
    info = probe_image(data, unit.root / path)
    if info.orientation != 1:
        raise DatasetError(
            f"EXIF turns it (orientation {info.orientation}), and how its annotator saw it is not known: "
            "save it upright, without EXIF, and annotate that"
        )
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
    digest = content_digest(info.identity, b"".join(_described(annotated)))
    stem = _stem(path)
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
    return Frame(sample, info, data, mask)


def _described(annotated: AnnotatedImage) -> Iterator[bytes]:
    """What the mask is drawn from: less than the mask itself, so that hashing it costs little."""
    for polygon in annotated.polygons:
        yield f"{polygon.label} {polygon.z_order} {len(polygon.points)}".encode()
        yield polygon.points.tobytes()
