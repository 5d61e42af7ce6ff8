"""Depth folders: left images with 16-bit disparity and its confidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.images import probe_image, read_companion
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.stereo import StereoCalibration, parse_conf
from safetrip_trainer.data.unit import Unit, UnitResult, content_digest
from safetrip_trainer.errors import DatasetError

__all__ = ["SUFFIXES", "stereo_frames"]

SUFFIXES = ("_L.png", "_disp16.png", "_confidence_save.png", "_confidence.png")
"""What a sample of a depth folder may be read from."""


def stereo_frames(unit: Unit, result: UnitResult) -> Iterator[Frame]:
    """Every usable sample of a unit; what is not usable goes to `result`."""
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
            frame = _frame(unit, path, calibration)
        except DatasetError as error:
            files = (f"{path}{suffix}" for suffix in SUFFIXES)
            culprit = next((file for file in files if str(error).startswith(f"{unit.root / file}: ")), path)
            result.report(culprit, error, unit.root)
            continue
        yield frame


def _frame(unit: Unit, path: str, calibration: StereoCalibration) -> Frame:
    image = f"{path}_L.png"
    data = read_bytes(unit.root / image)
    info = probe_image(data, unit.root / image)
    disparity_path = f"{path}_disp16.png"
    disparity, identity = read_companion(unit.root / disparity_path, np.uint16, info)
    contents = [info.identity, np.array([calibration.baseline, calibration.fx]).tobytes(), identity]
    confidence = None
    confidence_path = next(_existing(unit.root, path, "_confidence_save.png", "_confidence.png"), None)
    if confidence_path is not None:
        confidence, identity = read_companion(unit.root / confidence_path, np.uint8, info)
        contents.append(identity)
    if not _any_known(disparity, confidence):
        raise DatasetError(f"{unit.root / disparity_path}: no pixel with a disparity and confidence above 0")
    sample = Sample(
        id=path,
        source="depth",
        folder=unit.folder.path,
        split="",
        width=info.width,
        height=info.height,
        image=image,
        digest=content_digest(*contents),
        disparity=disparity_path,
        confidence=confidence_path,
        baseline=calibration.baseline,
        fx=calibration.fx,
    )
    return Frame(sample, info, data, depth=disparity, confidence=confidence)


def _any_known(disparity: np.ndarray, confidence: np.ndarray | None) -> bool:
    """Whether a pixel has both; nearly always a few rows tell."""
    for step in (64, 1):
        known = disparity[::step] > 0
        if confidence is not None:
            known &= confidence[::step] > 0
        if known.any():
            return True
    return False


def _existing(root: Path, path: str, *suffixes: str) -> Iterator[str]:
    return (f"{path}{suffix}" for suffix in suffixes if (root / f"{path}{suffix}").exists())
