"""Losses against hand-computed cases and independent formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safetrip_trainer.losses import FixedBalance, InverseHuberLoss, UncertaintyBalance, WeightedCrossEntropy
from safetrip_trainer.losses.reduction import TaskLoss


def _task(value: float, present: float) -> TaskLoss:
    return TaskLoss(torch.tensor(value), torch.tensor(present))


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.05, 0.05), (0.1, 0.1), (0.3, (0.09 + 0.01) / 0.2), (-0.3, 0.5)],
)
def test_inverse_huber_by_hand(error: float, expected: float) -> None:
    target = torch.full((1, 2, 2), 40.0)
    depth = torch.full((1, 1, 2, 2), 0.5 + error)
    assert float(InverseHuberLoss(0.1, 80.0)(depth, target).value) == pytest.approx(expected, rel=1e-5)


@given(st.floats(0.0, 1.0), st.floats(0.01, 0.5))
def test_inverse_huber_is_never_below_l1(error: float, threshold: float) -> None:
    loss = InverseHuberLoss(threshold, 1.0)(torch.full((1, 1, 1, 1), 1 - error), torch.ones(1, 1, 1))
    assert float(loss.value) >= error - 1e-6


def test_inverse_huber_averages_over_valid_pixels_only() -> None:
    target = torch.tensor([[[40.0, 0.0], [80.5, 40.0]]])
    depth = torch.tensor([[[[0.55, 0.9], [0.9, 0.5]]]])
    loss = InverseHuberLoss(0.1, 80.0)(depth, target)
    assert float(loss.value) == pytest.approx((0.05 + 0.0) / 2, rel=1e-5)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[[[2.0, 0.0]], [[0.0, 0.0]]]])
    labels = torch.tensor([[[0, 1]]])
    p = math.exp(2) / (math.exp(2) + 1)
    expected = (3 * -math.log(p) + 1 * math.log(2)) / 4
    loss = WeightedCrossEntropy(2, torch.tensor([3.0, 1.0]))(logits, labels)
    assert float(loss.value) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_ignores_unlabelled_pixels() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 24, 8, 8), torch.randint(0, 24, (2, 8, 8))
    labels[:, :4] = 255
    whole = WeightedCrossEntropy(24)(logits, labels).value
    half = torch.nn.functional.cross_entropy(logits[:, :, 4:], labels[:, 4:])
    torch.testing.assert_close(whole, half)


@settings(max_examples=20)
@given(st.sampled_from(["segmentation", "depth", "neither"]), st.sampled_from(["fixed", "uncertainty"]))
def test_a_batch_without_a_tasks_labels_trains_the_other_only(labelled: str, kind: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 24, 8, 8, requires_grad=True)
    raw = torch.randn(2, 1, 8, 8, requires_grad=True)
    labels = torch.full((2, 8, 8), 255)
    depth = torch.zeros(2, 8, 8)
    if labelled == "segmentation":
        labels[:] = 3
    if labelled == "depth":
        depth[:] = 12.0
    losses = {
        "segmentation": WeightedCrossEntropy(24)(logits, labels),
        "depth": InverseHuberLoss()(torch.sigmoid(raw), depth),
    }
    balance = (
        FixedBalance({"segmentation": 0.5, "depth": 0.5})
        if kind == "fixed"
        else UncertaintyBalance(("segmentation", "depth"))
    )
    total = balance(losses)
    total.backward()
    assert torch.isfinite(total)
    for task, tensor in (("segmentation", logits), ("depth", raw)):
        gradient = tensor.grad
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())
        assert bool((gradient != 0).any()) == (task == labelled)


def test_uncertainty_weighting_is_kendalls_formula() -> None:
    balance = UncertaintyBalance(("segmentation", "depth"))
    with torch.no_grad():
        balance.log_variance["segmentation"].fill_(0.4)
        balance.log_variance["depth"].fill_(-0.7)
    total = balance({"segmentation": _task(2.0, 1.0), "depth": _task(0.3, 1.0)})
    expected = math.exp(-0.4) * 2.0 / 2 + 0.4 / 2 + math.exp(0.7) * 0.3 / 2 - 0.7 / 2
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_an_absent_task_leaves_its_uncertainty_alone() -> None:
    balance = UncertaintyBalance(("segmentation", "depth"))
    balance({"segmentation": _task(2.0, 1.0), "depth": _task(0.0, 0.0)}).backward()
    assert float(balance.log_variance["depth"].grad) == 0.0
    assert float(balance.log_variance["segmentation"].grad) == pytest.approx(-0.5)
