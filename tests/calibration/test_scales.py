"""Thresholds of the methods against brute force and against what each promises."""

from __future__ import annotations

import numpy as np
import pytest

from safetrip_calibration.errors import CalibrationError
from safetrip_calibration.ranges import TensorRange
from safetrip_calibration.scales import Method, make_scales, parse_method, threshold


def filled(values: np.ndarray) -> TensorRange:
    item = TensorRange()
    for start in range(0, values.size, 50_000):
        item.update(values[start : start + 50_000].astype(np.float32), offset=0)
    return item


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    values = np.random.default_rng(0).normal(0, 1, 400_000)
    values[0] = 30.0  # one outlier
    return values


def test_minmax_keeps_the_outlier(gaussian: np.ndarray) -> None:
    assert threshold(filled(gaussian), Method("minmax")) == 30.0


@pytest.mark.parametrize("q", [99.0, 99.9, 99.99])
def test_percentile_is_numpys(gaussian: np.ndarray, q: float) -> None:
    item = filled(gaussian)
    expected = np.percentile(np.abs(gaussian), q)
    assert threshold(item, Method("percentile", q)) == pytest.approx(expected, abs=2 * item.limit / 4096)


def test_mse_is_as_good_as_brute_force_on_the_values(gaussian: np.ndarray) -> None:
    def error(t: float) -> float:
        step = t / 127
        return float(((np.clip(np.rint(gaussian / step), -127, 127) * step - gaussian) ** 2).mean())

    best = min(error(t) for t in np.linspace(0.5, 30, 200))
    chosen = threshold(filled(gaussian), Method("mse"))
    assert error(chosen) <= best * 1.02
    assert error(chosen) < error(30.0)


def test_entropy_drops_a_lone_outlier_and_keeps_the_body(gaussian: np.ndarray) -> None:
    chosen = threshold(filled(gaussian), Method("entropy"))
    assert 2.5 < chosen < 15.0


def test_entropy_does_not_mind_how_many_values_are_zero(gaussian: np.ndarray) -> None:
    """Behind a ReLU half of them are."""
    item, half = filled(np.abs(gaussian)), filled(np.concatenate([np.abs(gaussian), np.zeros(10**7)]))
    assert threshold(half, Method("entropy")) == threshold(item, Method("entropy"))


@pytest.mark.parametrize("name", ["percentile:100", "percentile:99.999", "mse", "entropy"])
def test_no_threshold_is_beyond_the_largest_value(name: str) -> None:
    assert threshold(filled(np.full(1000, 4.0)), parse_method(name)) == 4.0


@pytest.mark.parametrize("name", ["percentile:99.999", "mse", "entropy"])
def test_values_that_an_activation_cut_off_are_not_clipped_again(name: str) -> None:
    """ReLU6's largest value lies on a bin's edge, and is the commonest of all."""
    values = np.minimum(np.random.default_rng(1).exponential(4, 200_000), 6)
    assert threshold(filled(values), parse_method(name)) > 5.8


@pytest.mark.parametrize("name", ["minmax", "percentile", "mse", "entropy"])
def test_uniform_values_are_not_clipped_much(name: str) -> None:
    values = np.random.default_rng(1).uniform(0, 6, 200_000)
    assert 5.0 < threshold(filled(values), Method(name)) <= 6.0


@pytest.mark.parametrize("name", ["minmax", "percentile", "mse", "entropy"])
def test_a_tensor_of_zeros_has_a_usable_scale(name: str) -> None:
    scale = make_scales({"t": filled(np.zeros(10))}, Method(name))["t"]
    assert scale > 0


def test_method_texts() -> None:
    assert parse_method("mse") == Method("mse")
    assert parse_method("percentile:99.9") == Method("percentile", 99.9)
    assert str(parse_method("percentile:99.9")) == "percentile:99.9"


@pytest.mark.parametrize("text", ["max", "mse:3", "percentile:101", "percentile:x", "percentile:nan"])
def test_bad_method_texts(text: str) -> None:
    with pytest.raises(CalibrationError, match="method"):
        parse_method(text)
