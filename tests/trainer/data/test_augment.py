"""Augmentation moves image, labels and depth together, and zooming brings things nearer."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from safetrip_trainer.data.augment import DepthMap, RandomZoomCrop, evaluation_transform, training_transform
from safetrip_trainer.model.preprocess import normalize, resize


def _scene(height: int = 60, width: int = 80) -> tuple[tv_tensors.Image, tv_tensors.Mask, DepthMap]:
    """Every plane tells its column: red is the column, the label its tens, depth 1 m plus a tenth of it."""
    column = torch.arange(width).expand(height, width)
    image = torch.stack([column, torch.zeros_like(column), torch.zeros_like(column)]).to(torch.uint8)
    labels = (column // 10).to(torch.uint8)
    return tv_tensors.Image(image), tv_tensors.Mask(labels), DepthMap(1.0 + column / 10.0)


def test_evaluation_is_exactly_the_deploy_preprocessing() -> None:
    torch.manual_seed(0)
    raw = torch.randint(0, 256, (3, 90, 160), dtype=torch.uint8)
    _, mask, depth = _scene(90, 160)
    image, *_ = evaluation_transform((64, 96))(tv_tensors.Image(raw), mask, depth)
    expected = normalize(resize(raw[None].float(), (64, 96)))[0]
    torch.testing.assert_close(image.as_subclass(torch.Tensor), expected, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_geometry_is_shared_and_depth_is_divided_by_the_zoom(seed: int) -> None:
    torch.manual_seed(seed)
    crop = RandomZoomCrop((60, 80), zoom=(2.0, 2.0))
    image, labels, depth = crop(*_scene())
    column = image[0].as_subclass(torch.Tensor)
    # Enlarged twice, without interpolation across labels: the label still tells the column.
    agree = (labels.as_subclass(torch.Tensor).float() - torch.floor(column / 10)).abs() <= 1
    assert bool(agree.all())
    torch.testing.assert_close(depth.as_subclass(torch.Tensor) * 2, 1 + column / 10, rtol=0, atol=0.08)
    assert float(column.max() - column.min()) == pytest.approx(39, abs=1.5)


def test_depth_holes_stay_holes() -> None:
    image, labels, depth = _scene()
    depth[:, 40:] = 0
    out = RandomZoomCrop((30, 40))(image, labels, depth)[2]
    values = out.as_subclass(torch.Tensor)
    assert bool((values[:, 20:] == 0).all())
    assert float(values[:, :20].min()) >= 1.0


def test_planes_of_different_resolution_show_the_same_window() -> None:
    image, labels, depth = _scene()
    small = tv_tensors.Image(image[:, ::2, ::2])
    torch.manual_seed(3)
    full = RandomZoomCrop((60, 80), (1.5, 1.5))(image, labels, depth)
    torch.manual_seed(3)
    half = RandomZoomCrop((60, 80), (1.5, 1.5))(small, labels, depth)
    torch.testing.assert_close(
        full[0].as_subclass(torch.Tensor), half[0].as_subclass(torch.Tensor), rtol=0, atol=2.5
    )
    assert torch.equal(full[1], half[1])


def test_mirror_mirrors_all_and_colour_changes_only_the_image() -> None:
    image, labels, depth = training_transform((60, 80), zoom=(1.0, 1.0), jitter=0.3, flip=1.0)(*_scene())
    _, plain, metres = _scene()
    assert torch.equal(labels.as_subclass(torch.Tensor), plain.as_subclass(torch.Tensor).flip(-1))
    assert torch.equal(depth.as_subclass(torch.Tensor), metres.as_subclass(torch.Tensor).flip(-1))
    assert image.shape == (3, 60, 80)


def test_training_ends_in_the_same_normalisation_as_evaluation() -> None:
    """A step that drops the tensor's type would leave 0..255 to the net while training, and only then."""
    scene = _scene()
    plain = evaluation_transform((60, 80))(*scene)[0].as_subclass(torch.Tensor)
    for jitter in (0.0, 1e-6):
        image = training_transform((60, 80), zoom=(1.0, 1.0), jitter=jitter, flip=0.0)(*scene)[0]
        torch.testing.assert_close(image.as_subclass(torch.Tensor), plain, rtol=0, atol=1e-3)


def test_zoom_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="zoom"):
        RandomZoomCrop((10, 10), (0.5, 1.0))
