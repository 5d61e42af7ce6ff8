"""From a histogram to a scale: where to clip so that 8 bits serve best.

Every method returns a threshold T; the INT8 grid is then T / 127 apart and symmetric.

- `minmax`: T = the largest |x| seen. Nothing is clipped; one outlier coarsens the grid for all.
- `percentile`: T = the q-th percentile of |x| (99.9 to 99.999).
- `mse`: T that minimises the mean squared rounding-and-clipping error over the histogram.
- `entropy`: T that minimises the KL divergence between the clipped distribution and its 128-level version
  (Migacz, "8-bit Inference with TensorRT", GTC 2017). The bin at zero is left out, which would outweigh all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.int8 import LEVELS
from safetrip_calibration.ranges import BINS, TensorRange

__all__ = ["METHODS", "Method", "make_scales", "parse_method", "threshold"]

METHODS = ("minmax", "percentile", "mse", "entropy")
DEFAULT_PERCENTILE = 99.99
KL_LEVELS = 128
CANDIDATES = 128


@dataclass(frozen=True)
class Method:
    """A calibration method; `percentile` counts only for that one."""

    name: str
    percentile: float = DEFAULT_PERCENTILE

    def __str__(self) -> str:
        return f"percentile:{self.percentile:g}" if self.name == "percentile" else self.name


def parse_method(text: str) -> Method:
    """`minmax`, `entropy`, `mse`, `percentile` or `percentile:99.999` -> Method.

    Raises:
        CalibrationError: another name, or a percentile outside 90..100.
    """
    name, _, argument = text.partition(":")
    if name not in METHODS or (argument and name != "percentile"):
        raise CalibrationError(f"method {text!r}: want one of {', '.join(METHODS)} (percentile:99.99 too)")
    if not argument:
        return Method(name)
    try:
        percentile = float(argument)
    except ValueError:
        percentile = float("nan")
    if not 90.0 <= percentile <= 100.0:
        raise CalibrationError(f"method {text!r}: want a percentile from 90 to 100, such as percentile:99.99")
    return Method(name, percentile)


def make_scales(ranges: Mapping[str, TensorRange], method: Method) -> dict[str, float]:
    """Tensor -> scale (T / 127)."""
    return {name: threshold(item, method) / LEVELS for name, item in ranges.items()}


def threshold(item: TensorRange, method: Method) -> float:
    """T of one tensor: above 0 unless the tensor was 0 throughout, when it is the smallest grid's."""
    if item.largest == 0.0:
        return float(np.finfo(np.float32).tiny) * LEVELS
    chosen = _CHOOSE[method.name](item, method)
    return float(min(max(chosen, item.limit / BINS), item.largest))


def _minmax(item: TensorRange, method: Method) -> float:
    return item.largest


def _percentile(item: TensorRange, method: Method) -> float:
    cumulative = np.cumsum(item.histogram)
    wanted = cumulative[-1] * (method.percentile / 100.0)
    return float((np.searchsorted(cumulative, wanted) + 1) * item.limit / BINS)


def _mse(item: TensorRange, method: Method) -> float:
    centres = (np.arange(BINS) + 0.5) * (item.limit / BINS)
    used = item.histogram > 0
    centres, counts = centres[used], item.histogram[used]
    candidates = item.largest * np.linspace(1.0 / CANDIDATES, 1.0, CANDIDATES)
    steps = (candidates / LEVELS)[:, None]
    rounded = np.minimum(np.rint(centres / steps), LEVELS) * steps
    return float(candidates[((rounded - centres) ** 2 @ counts).argmin()])


def _entropy(item: TensorRange, method: Method) -> float:
    counts = item.histogram.astype(np.float64)
    counts[0] = 0.0
    # With the bin that holds the largest value, even on that bin's edge, where ReLU6 cuts.
    top = int(item.largest / item.limit * BINS) + 1
    ends = np.unique(np.linspace(KL_LEVELS, max(top, KL_LEVELS), CANDIDATES).astype(int))
    divergences = [_divergence(counts, end) for end in ends]
    return float(ends[int(np.argmin(divergences))] * item.limit / BINS)


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """KL(P || Q): P clipped at bin `end`, Q what 128 levels leave of the unclipped part of it."""
    inside = counts[:end]
    reference = inside.copy()
    reference[-1] += counts[end:].sum()
    if inside.sum() == 0.0:
        return float("inf")
    starts = np.linspace(0, end, KL_LEVELS, endpoint=False).astype(int)
    occupied = (inside > 0).astype(np.float64)
    totals = np.add.reduceat(inside, starts)
    widths = np.add.reduceat(occupied, starts)
    level = np.repeat(np.arange(KL_LEVELS), np.diff(np.append(starts, end)))
    quantised = np.divide(totals, widths, out=np.zeros(KL_LEVELS), where=widths > 0)[level] * occupied
    p, q = reference / reference.sum(), quantised / quantised.sum()
    lost = (p > 0) & (q == 0)
    used = (p > 0) & (q > 0)
    # Mass that Q cannot say at all costs as if Q gave it a tiny share, instead of infinitely much.
    penalty = float((p[lost] * np.log(p[lost] / 1e-9)).sum())
    return float((p[used] * np.log(p[used] / q[used])).sum()) + penalty


_CHOOSE: dict[str, Callable[[TensorRange, Method], float]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
