"""The view cut into vertical sectors, side by side from left to right."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sector_edges"]


def sector_edges(width: int, sectors: int, intrinsics: CameraIntrinsics | None) -> NDArray[np.intp]:
    """Columns at which sectors begin, and the end: (sectors + 1,), rising strictly from 0 to `width`.

    Args:
        width: of the labels.
        sectors: how many.
        intrinsics: of an image of this width: sectors are then equal angles; else equal numbers of columns.

    Raises:
        TypeError: sectors that are no whole number.
        ValueError: fewer than 1 sector, or more than there are columns.
    """
    if not isinstance(sectors, Integral):
        raise TypeError(f"sectors: want a whole number, not {type(sectors).__name__}")
    if not 1 <= sectors <= width:
        raise ValueError(f"sectors: want 1 to {width} (the labels' width), not {sectors}")
    if intrinsics is None:
        edges = np.linspace(0, width, sectors + 1)
    else:
        # A pixel reaches half a column to either side of its centre.
        left, right = intrinsics.bearing(np.array([-0.5, width - 0.5]))
        edges = intrinsics.column(np.linspace(left, right, sectors + 1)) + 0.5
    whole = np.rint(edges).astype(np.intp)
    whole[0], whole[-1] = 0, width
    # At extreme angles a sector may be narrower than a column: give each at least one.
    steps = np.arange(sectors + 1)
    whole = np.maximum.accumulate(whole - steps) + steps
    return np.minimum(whole, width - steps[::-1])
