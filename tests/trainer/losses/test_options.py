"""The losses that are options, against hand-computed cases and independent formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.losses import (
    DepthGradientLoss,
    FocalCrossEntropy,
    HardPixelCrossEntropy,
    InverseHuberLoss,
    ScaleInvariantLoss,
    SoftTargetLoss,
    WeightedCrossEntropy,
)


def _batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    labels = torch.randint(0, 5, (2, 6, 6))
    labels[:, 0] = 255
    return torch.randn(2, 5, 6, 6, requires_grad=True), labels


def test_confidence_weighs_each_pixel() -> None:
    logits, labels = _batch()
    confidence = torch.rand(labels.shape)
    loss = WeightedCrossEntropy(5)(logits, labels, confidence).value
    nll = F.cross_entropy(logits, labels, reduction="none", ignore_index=255)
    weight = confidence * (labels != 255)
    torch.testing.assert_close(loss, (nll * weight).sum() / weight.sum())
    sure = WeightedCrossEntropy(5)(logits, labels, torch.ones(labels.shape)).value
    torch.testing.assert_close(sure, WeightedCrossEntropy(5)(logits, labels).value)


def test_hard_pixels_are_the_ones_that_count() -> None:
    logits, labels = _batch()
    nll = F.cross_entropy(logits, labels, reduction="none", ignore_index=255)[labels != 255]
    # No pixel is certain enough to be easy by probability alone here: the share decides.
    strict = HardPixelCrossEntropy(5, keep=0.26, certain=1e-6)(logits, labels).value
    torch.testing.assert_close(strict, nll.topk(math.ceil(nll.numel() * 0.26)).values.mean())
    by_probability = HardPixelCrossEntropy(5, keep=0.01, certain=0.5)(logits, labels).value
    torch.testing.assert_close(by_probability, nll[nll >= math.log(2)].mean())
    torch.testing.assert_close(HardPixelCrossEntropy(5, keep=1.0)(logits, labels).value, nll.mean())


def test_focal_is_the_published_formula() -> None:
    logits, labels = _batch()
    known = labels != 255
    p = logits.softmax(1).gather(1, labels.clamp(max=4)[:, None])[:, 0][known]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(FocalCrossEntropy(5, gamma=2.0)(logits, labels).value, expected)
    plain = WeightedCrossEntropy(5)(logits, labels).value
    torch.testing.assert_close(FocalCrossEntropy(5, gamma=0.0)(logits, labels).value, plain)


@pytest.mark.parametrize("loss", [HardPixelCrossEntropy(5), FocalCrossEntropy(5)])
def test_without_a_label_there_is_neither_loss_nor_gradient(loss: WeightedCrossEntropy) -> None:
    logits, labels = _batch()
    result = loss(logits, torch.full_like(labels, 255))
    result.value.backward()
    assert float(result.value.detach()) == 0.0
    assert float(result.present) == 0.0
    assert not logits.grad.any()


def test_options_out_of_range_are_refused() -> None:
    for build in (
        lambda: HardPixelCrossEntropy(5, keep=0.0),
        lambda: FocalCrossEntropy(5, gamma=-1.0),
        lambda: SoftTargetLoss(0.0),
    ):
        with pytest.raises(TrainerError, match="expected"):
            build()


def test_inverse_huber_on_a_logarithmic_scale_sees_ratios() -> None:
    loss = InverseHuberLoss(threshold=1.0, max_depth=80.0, min_depth=0.8)
    for truth in (2.0, 40.0):
        value = loss(torch.full((1, 1, 2, 2), truth * 1.2 / 80), torch.full((1, 2, 2), truth)).value
        assert float(value) == pytest.approx(math.log(1.2) / math.log(100), rel=1e-4)
    # What is nearer than the scale begins counts as there.
    near = loss(torch.full((1, 1, 2, 2), 1e-4), torch.full((1, 2, 2), 0.8 * math.e)).value
    assert float(near) == pytest.approx(1 / math.log(100), rel=1e-4)


def test_scale_invariant_error_by_hand() -> None:
    # Ratios 1 and e in one image, a constant factor in the other, a third without depth.
    depth = torch.tensor([[[[0.5, 0.5]]], [[[0.2, 0.2]]], [[[0.3, 0.3]]]])
    target = torch.tensor([[[40.0, 40.0 / math.e]], [[8.0, 8.0]], [[0.0, 90.0]]])
    half = (0.5 - 0.5 * 0.25, 0.5 * math.log(2) ** 2)
    loss = ScaleInvariantLoss(share=0.5, max_depth=80.0)(depth, target)
    assert float(loss.value) == pytest.approx(sum(half) / 2, rel=1e-5)
    full = ScaleInvariantLoss(share=1.0, max_depth=80.0)(depth[1:2], target[1:2])
    assert float(full.value) == pytest.approx(0.0, abs=1e-6)
    assert float(ScaleInvariantLoss()(depth, torch.zeros_like(target)).present) == 0.0


def test_gradient_matching_by_hand() -> None:
    # log ratio 0 and ln 2 in two columns: one unit of |dx| in each row, |dy| nowhere.
    depth = torch.tensor([[[[0.25, 0.5], [0.25, 0.5]]]])
    target = torch.full((1, 2, 2), 20.0)
    value = DepthGradientLoss(scales=1)(depth, target).value
    assert float(value) == pytest.approx(2 * math.log(2) / 4, rel=1e-5)
    target[0, 1, 1] = 0.0  # a hole behind its neighbours
    assert float(DepthGradientLoss(scales=1)(depth * 1.5, target).value) == pytest.approx(
        math.log(2) / 2, rel=1e-5
    )
    target[0, 1, 1] = 20.0
    target[0, 0, 0] = 0.0  # its two neighbour pairs are not measured any more
    assert float(DepthGradientLoss(scales=1)(depth, target).value) == pytest.approx(math.log(2) / 2, rel=1e-5)


def test_gradients_are_taken_at_every_second_pixel_too() -> None:
    # Columns alternate by ln 2: steps of one pixel all show it, steps of two none; rows never.
    depth = (torch.tensor([0.25, 0.5]).repeat(4).expand(8, 8) * 1.0)[None, None]
    target = torch.full((1, 8, 8), 20.0)
    fine = 8 * 7 * math.log(2)
    counts = [2 * side * (side - 1) for side in (8, 4, 2)]
    for scales in (1, 2, 3, 5):  # the fourth has one pixel, and no neighbours
        value = DepthGradientLoss(scales=scales)(depth, target).value
        assert float(value) == pytest.approx(fine / sum(counts[:scales]), rel=1e-5)


def test_gradient_matching_ignores_scale_and_zero_is_reached() -> None:
    target = torch.rand(2, 16, 16) * 40 + 1
    depth = (target / 80).unsqueeze(1)
    assert float(DepthGradientLoss()(depth * 0.5, target).value) == pytest.approx(0.0, abs=1e-5)
    assert float(DepthGradientLoss()(torch.full_like(depth, 0.3), target).value) > 0.1


def test_soft_targets_are_hintons() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, 4, requires_grad=True), torch.randn(2, 5, 4, 4)
    q, p = (teacher / 3).softmax(1), (student / 3).softmax(1)
    expected = 9 * (q * (q.log() - p.log())).sum(1).mean()
    torch.testing.assert_close(SoftTargetLoss(3.0)(student, teacher).value, expected)
    assert float(SoftTargetLoss(3.0)(teacher, teacher).value) == pytest.approx(0.0, abs=1e-6)
    # At high temperature the gradient is that of matching centred logits (section 2.1 of the paper).
    centred = [x.detach() - x.detach().mean(1, keepdim=True) for x in (student, teacher)]
    (gradient,) = torch.autograd.grad(SoftTargetLoss(1e3)(student, teacher).value, student)
    torch.testing.assert_close(gradient * 32, (centred[0] - centred[1]) / 5, atol=2e-3, rtol=1e-2)
