"""A prediction as files, for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png

__all__ = ["write_planes"]


def write_planes(out: Path, name: str, labels: np.ndarray, depth: np.ndarray | None) -> None:
    """`NAME_labels.png` (class ids) and `NAME_depth.png` (16 bits, millimetres).

    Args:
        out: folder, made where it is missing.
        name: may hold folders of its own.
        labels: (h, w) uint8.
        depth: (h, w) float32 metres, 65,535 where it is farther than that tells, 0 where it is no number;
            None of a net that says none.
    """
    planes = {"labels": labels}
    if depth is not None:
        planes["depth"] = np.clip(np.nan_to_num(depth * 1000, nan=0.0), 0, 65535).astype(np.uint16)
    for kind, plane in planes.items():
        write_atomic(out / f"{name}_{kind}.png", encode_png(plane))
