"""Depth from a SafeTrip-Q stereo folder: the .conf, 16-bit disparity and its confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.errors import DatasetError

__all__ = ["DISPARITY_SCALE", "StereoCalibration", "disparity_to_depth", "parse_conf"]

DISPARITY_SCALE = 256.0
"""disp16 holds pixels times this; 0 is unknown."""


@dataclass(frozen=True)
class StereoCalibration:
    """`baseline` in metres; `fx`, `fy`, `cx`, `cy` in pixels (None where the file lacks the last three)."""

    baseline: float
    fx: float
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None


def parse_conf(path: Path) -> StereoCalibration:
    """Read a folder's `key=value` file (`BaseLine` in mm; keys in any case; `#` and `[section]` skipped).

    Raises DatasetError where BaseLine or fx is missing, not a number or not positive: without them a
    disparity has no depth.
    """
    values: dict[str, str] = {}
    for line in read_bytes(path).decode("utf-8", errors="replace").splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith(("#", ";", "[")):
            values[key.strip().lower()] = value.strip()
    baseline = _number(values, "BaseLine", path, required=True)
    fx = _number(values, "fx", path, required=True)
    assert baseline is not None
    assert fx is not None
    fy, cx, cy = (_number(values, key, path) for key in ("fy", "cx", "cy"))
    return StereoCalibration(baseline / 1000.0, fx, fy, cx, cy)


def _number(values: dict[str, str], key: str, path: Path, required: bool = False) -> float | None:
    text = values.get(key.lower())
    if text is None:
        if required:
            raise DatasetError(f"{path}: no {key}; add a line '{key}=NUMBER' (BaseLine in mm, fx in pixels)")
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (required and value <= 0):
        raise DatasetError(f"{path}: {key}={text} is no {'positive ' if required else ''}number")
    return value


def disparity_to_depth(disparity: np.ndarray, baseline: float, fx: float) -> np.ndarray:
    """(H, W) uint16 disp16 -> (H, W) float32 metres along the camera's z, NaN where the disparity is 0.

    depth = baseline * fx / (disp16 / 256), `baseline` in metres.
    """
    depth = np.full(disparity.shape, np.nan, dtype=np.float32)
    np.divide(
        np.float32(baseline * fx * DISPARITY_SCALE),
        disparity,
        out=depth,
        where=disparity > 0,
        dtype=np.float32,
    )
    return depth
