"""What values tensors take on real frames: exact extremes and histograms, streamed.

One frame's activations are in memory at a time, and of each tensor a histogram of |x| is kept: memory does
not grow with the number of frames. (onnxruntime.quantization's calibrators keep all activations of a batch of
frames, know no MSE, and place by their own rules; onnxruntime only runs the graph here.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.fp16 import FP16_MAX
from safetrip_calibration.frames import LabelledFrame

__all__ = ["BINS", "Progress", "TensorRange", "collect_ranges"]

BINS = 4096
SAMPLE = 1 << 15  # values of a tensor per frame that enter the histogram; extremes are over all
HALF_TINY = 2.0**-25  # at or below this, rounding to FP16 gives zero
HALF_NORMAL = 2.0**-14  # FP16's smallest normal number
MAX_FLUSHED = 1e-3  # share of a tensor's non-zero values that may round to zero

Progress = Callable[[int, int, str], None]  # done, total, what


class TensorRange:
    """Histogram of |x| over [0, limit) in BINS bins; `limit` doubles when a larger value comes.

    Attributes:
        largest: the exact maximum of |x| over everything seen.
        histogram: (BINS,) counts of the sampled values.
        limit: upper end of the last bin, a power of two.
        nonzero, flushed: sampled values that are not 0, and those of them that FP16 turns into 0; counted
            until a value is a normal number in FP16, for beside such the lost ones are noise.
        finite: False once a NaN or infinity was seen.
        means: (channels,) mean of the values themselves over frames and positions, for (1, C, H, W) tensors.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self.limit = 2.0**-20
        self.histogram = np.zeros(BINS, np.int64)
        self.nonzero = 0
        self.flushed = 0
        self.finite = True
        self.means: NDArray[np.float64] | None = None
        self._frames = 0

    def update(self, values: NDArray[np.float32], offset: int) -> None:
        """Add one frame's tensor; `offset` moves the positions sampled from frame to frame."""
        flat = values.reshape(-1)
        if flat.size == 0:
            return
        largest = float(max(flat.max(), -flat.min()))
        if not np.isfinite(largest):
            self.finite = False
            return
        self.largest = max(self.largest, largest)
        self._widen(largest)
        self._average(values)
        # An odd stride does not walk down one column of an even-sized feature map.
        stride = max(1, flat.size // SAMPLE) | 1
        sample = np.abs(flat[offset % stride :: stride])
        bins = (sample * np.float32(BINS / self.limit)).astype(np.intp)
        self.histogram += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
        if self.largest < HALF_NORMAL:
            nonzero = int(np.count_nonzero(sample))
            self.nonzero += nonzero
            self.flushed += int(np.count_nonzero(sample <= HALF_TINY)) - (sample.size - nonzero)

    def _average(self, values: NDArray[np.float32]) -> None:
        if values.ndim != 4:
            return
        means = values.mean(axis=(0, 2, 3)).astype(np.float64)
        self._frames += 1
        # Running mean: frame n moves it by 1/n of what is between.
        self.means = means if self.means is None else self.means + (means - self.means) / self._frames

    def _widen(self, largest: float) -> None:
        while largest >= self.limit:
            halves = self.histogram.reshape(-1, 2).sum(axis=1)
            self.histogram = np.concatenate([halves, np.zeros(BINS // 2, np.int64)])
            self.limit *= 2

    @property
    def overflows_half(self) -> bool:
        """True when a value is beyond FP16's largest number."""
        return self.largest > FP16_MAX

    @property
    def vanishes_in_half(self) -> bool:
        """True when all values are so small that FP16 loses more than MAX_FLUSHED of them."""
        return self.largest < HALF_NORMAL and self.flushed_share > MAX_FLUSHED

    @property
    def flushed_share(self) -> float:
        """Share of the non-zero values that FP16 turns into zero."""
        return self.flushed / self.nonzero if self.nonzero else 0.0


def collect_ranges(
    model: ModelProto,
    tensors: Sequence[str],
    frames: Iterable[LabelledFrame],
    total: int,
    progress: Progress | None = None,
) -> dict[str, TensorRange]:
    """Run the FP32 graph over `frames` on onnxruntime and collect the ranges of `tensors`.

    Raises:
        CalibrationError: a tensor became NaN or infinite; it and the frame are named.
    """
    session = _session(model, tensors)
    feed = session.get_inputs()[0].name
    ranges = {name: TensorRange() for name in tensors}
    for done, item in enumerate(frames):
        values = session.run(list(tensors), {feed: item.frame[None]})
        for name, value in zip(tensors, values):
            ranges[name].update(value, offset=done * 7919)
            if not ranges[name].finite:
                raise CalibrationError(
                    f"frame {item.name!r}: tensor {name!r} is not finite in FP32; the weights are damaged"
                )
        if progress:
            progress(done + 1, total, "ranges")
    return ranges


def _session(model: ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    watched = ModelProto()
    watched.CopyFrom(model)
    present = {item.name for item in watched.graph.output}
    extra = [helper.make_empty_tensor_value_info(name) for name in tensors if name not in present]
    watched.graph.output.extend(extra)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Activations of every frame have the same sizes: no arena that keeps what an earlier frame used.
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
