"""KITTI drives: camera images with projected laser depth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.images import probe_image, read_companion
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.kitti_tree import kitti_files
from safetrip_trainer.data.unit import Unit, UnitResult, content_digest
from safetrip_trainer.errors import DatasetError

__all__ = ["kitti_frames"]


def kitti_frames(unit: Unit, result: UnitResult) -> Iterator[Frame]:
    """Every usable sample of a unit; what is not usable goes to `result`."""
    for name in unit.names:
        image, depth = kitti_files(unit.folder, name)
        try:
            frame = _frame(unit, name, image, depth)
        except DatasetError as error:
            culprit = image if str(error).startswith(f"{unit.root / image}: ") else depth
            result.report(culprit, error, unit.root)
            continue
        yield frame


def _frame(unit: Unit, name: str, image: str, depth: str) -> Frame:
    data = read_bytes(unit.root / image)
    info = probe_image(data, unit.root / image)
    plane, identity = read_companion(unit.root / depth, np.uint16, info)
    if not plane.any():
        raise DatasetError(f"{unit.root / depth}: no pixel with a depth")
    sample = Sample(
        id=f"{unit.folder.path}/{name}",
        source="kitti",
        folder=unit.folder.path,
        split="",
        width=info.width,
        height=info.height,
        image=image,
        digest=content_digest(info.identity, identity),
        depth=depth,
    )
    return Frame(sample, info, data, depth=plane)
