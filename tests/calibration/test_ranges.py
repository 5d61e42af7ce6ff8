"""Streamed histograms against numpy on all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.ranges import BINS, TensorRange, collect_ranges
from tests.calibration.nets import Scenes


def filled(*parts: np.ndarray) -> TensorRange:
    item = TensorRange()
    for index, part in enumerate(parts):
        item.update(part.astype(np.float32), offset=index)
    return item


def test_histogram_equals_numpys_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 10.0**power, 5000) for power in (-3, 1, 0)]
    item = filled(*parts)
    values = np.abs(np.concatenate(parts).astype(np.float32))
    expected, _ = np.histogram(values, BINS, (0, item.limit))
    assert item.largest == values.max()
    assert np.abs(item.histogram - expected).sum() <= 4  # values on a bin's very edge
    assert item.histogram.sum() == values.size
    assert item.limit / 2 <= item.largest < item.limit


def test_extremes_are_exact_even_where_the_histogram_samples() -> None:
    values = np.zeros(3_000_000, np.float32)
    values[1_234_567] = -42.0
    item = filled(values)
    assert item.largest == 42.0
    assert item.histogram.sum() < 100_000


def test_half_precision_limits_are_counted() -> None:
    item = filled(np.array([0.0, 1e-9, -1e-9, 1e-6, 2e-6]))
    assert item.flushed_share == 0.5
    assert item.vanishes_in_half
    assert np.float16(1e-9) == 0
    # The same values beside one that FP16 holds well are noise.
    assert not filled(np.array([0.0, 1e-9, -1e-9, 1e-6, 1.0])).vanishes_in_half
    assert not item.overflows_half
    assert filled(np.array([-70000.0])).overflows_half


def test_memory_does_not_grow_with_frames(model: ModelProto, scenes: Scenes) -> None:
    alive = []

    class Watch:
        def __iter__(self):
            for index in range(5):
                alive.append(index)
                yield scenes[index]

    done: list[int] = []
    ranges = collect_ranges(model, ["fused.act"], Watch(), 5, lambda at, total, what: done.append(at))
    assert done == [1, 2, 3, 4, 5]
    assert ranges["fused.act"].histogram.nbytes == BINS * 8
    assert ranges["fused.act"].largest <= 6.0


def test_non_finite_values_name_tensor_and_frame(model: ModelProto, scenes: Scenes) -> None:
    broken = ModelProto()
    broken.CopyFrom(model)
    for item in broken.graph.initializer:
        if item.name == "fine.bias":
            value = np.full(tuple(item.dims), np.nan, np.float32)
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    with pytest.raises(CalibrationError, match=r"scene_000.*fine"):
        collect_ranges(broken, ["fine"], [scenes[0]], 1)


def test_means_are_those_of_all_frames_together() -> None:
    frames = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 7)).astype(np.float32)
    item = TensorRange()
    for index, frame in enumerate(frames):
        item.update(frame[None], offset=index)
    np.testing.assert_allclose(item.means, frames.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert filled(np.ones(9)).means is None, "there are no channels"


def test_a_sample_sees_every_column_and_other_positions_with_each_frame() -> None:
    # Columns of 1 and 2 in turn: an even stride would walk down one of them.
    columns = np.tile([1.0, 2.0], 1 << 16)
    item = filled(columns)
    bins = (np.array([1.0, 2.0]) * BINS / item.limit).astype(int)
    assert item.histogram[bins].min() > 0.4 * item.histogram.sum()
    # Three frames that are the same: together they show what one would leave out.
    values = np.tile([1.0, 2.0, 2.0], 1 << 15)
    one, three = filled(values), filled(values, values, values)
    assert np.count_nonzero(one.histogram) == 1
    assert three.histogram[bins].tolist() == [1 << 15, 2 << 15]
