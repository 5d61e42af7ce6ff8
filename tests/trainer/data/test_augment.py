"""Augmentation moves image, labels and depth together, and zooming brings things nearer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from safetrip_trainer.data.augment import NetInput, TrainingTransform, Window, evaluation_transform
from safetrip_trainer.data.color import color_matrix
from safetrip_trainer.data.i420 import I420
from safetrip_trainer.data.loader import collate
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.model.preprocess import IMAGENET_STD, normalize, resize


def _scene(height: int = 60, width: int = 80) -> Planes:
    """Every plane tells its column: red is the column, the label its tens, depth 1 m plus a tenth of it."""
    column = np.broadcast_to(np.arange(width), (height, width))
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = column
    return Planes(image, (column // 10).astype(np.uint8), (1.0 + column / 10.0).astype(np.float32))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _red(given: NetInput) -> torch.Tensor:
    """Of training's image, which is not normalised yet."""
    assert given.image.dtype == torch.uint8
    return given.image[0].float()


def test_evaluation_is_exactly_the_deploy_preprocessing() -> None:
    planes = _scene(90, 160)._replace(image=_rng().integers(0, 256, (90, 160, 3), np.uint8))
    image = evaluation_transform((64, 96))(planes, _rng()).image
    rgb = torch.from_numpy(planes.image[..., ::-1].transpose(2, 0, 1).copy())
    expected = normalize(resize(rgb[None].float(), (64, 96)))[0]
    torch.testing.assert_close(image, expected, rtol=0, atol=0)


def test_training_without_chance_equals_evaluation() -> None:
    """Other code, for speed: the same resize, normalisation and targets."""
    planes = _scene(90, 160)._replace(image=_rng().integers(0, 256, (90, 160, 3), np.uint8))
    plain = TrainingTransform((64, 96), zoom=(1.0, 1.0), jitter=0.0, flip=0.0)(planes, _rng())
    exact = evaluation_transform((64, 96))(planes, _rng())
    batch = collate([{**plain._asdict(), "confidence": torch.ones(64, 96), "name": "", "unreadable": []}])
    # Bytes are half a step off at most, fixed-point interpolation as much again.
    torch.testing.assert_close(batch["image"][0], exact.image, rtol=0, atol=1.01 / 255 / min(IMAGENET_STD))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["labels"][0], exact.labels)
    assert torch.equal(plain.depth, exact.depth)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [(120, 160), (121, 161)])
def test_an_image_of_the_cache_gives_what_its_colours_give(size: tuple[int, int], seed: int) -> None:
    """Cut and resized as YCbCr: the same window and mirror; colours differ by chroma's two-pixel steps."""
    across, down = np.linspace(0, 250, 384), np.linspace(250, 0, 256)[:, None]
    ramps = np.broadcast_arrays(across + 0 * down, down + 0 * across, (across + down) / 2)
    image = np.stack(ramps, axis=-1).astype(np.uint8)
    stored = I420.of(image)
    transform = TrainingTransform(size, zoom=(1.0, 2.0), jitter=0.0)
    given = transform(Planes(stored), _rng(seed)).image.int()
    expected = transform(Planes(stored.bgr()), _rng(seed)).image.int()
    difference = (given - expected).abs().float()
    assert difference.mean() < 1.5
    assert difference.max() < 8


@pytest.mark.parametrize("seed", range(5))
def test_geometry_is_shared_and_depth_is_divided_by_the_zoom(seed: int) -> None:
    transform = TrainingTransform((60, 80), zoom=(2.0, 2.0), jitter=0.0)
    given = transform(_scene(), _rng(seed))
    column = _red(given)
    # Enlarged twice, without interpolation across labels: the label still tells the column.
    assert bool(((given.labels - torch.floor(column / 10 + 1e-3)).abs() <= 1).all())
    torch.testing.assert_close(given.depth * 2, 1 + column / 10, rtol=0, atol=0.08)
    assert float(column.max() - column.min()) == pytest.approx(39, abs=1.5)


def test_depth_holes_stay_holes() -> None:
    planes = _scene()
    planes.depth[:, 40:] = 0.0
    depth = evaluation_transform((30, 40))(planes, _rng()).depth
    assert bool((depth[:, 20:] == 0).all())
    assert float(depth[:, :20].min()) >= 1.0


def test_planes_of_different_resolution_show_the_same_window() -> None:
    planes = _scene()
    small = planes._replace(image=np.ascontiguousarray(planes.image[::2, ::2]))
    transform = TrainingTransform((60, 80), (1.5, 1.5), jitter=0.0)
    full, half = (transform(item, _rng(3)) for item in (planes, small))
    torch.testing.assert_close(_red(full), _red(half), rtol=0, atol=3)
    assert torch.equal(full.labels, half.labels)


def test_mirror_mirrors_all_and_colour_changes_only_the_image() -> None:
    given = TrainingTransform((60, 80), zoom=(1.0, 1.0), jitter=0.3, flip=1.0)(_scene(), _rng())
    planes = _scene()
    assert np.array_equal(given.labels.numpy(), planes.labels[:, ::-1])
    assert np.array_equal(given.depth.numpy(), planes.depth[:, ::-1])
    assert given.image.shape == (3, 60, 80)
    assert float((_red(given).flip(-1) - torch.from_numpy(planes.image[..., 2]).float()).abs().max()) > 1


def test_a_sample_without_labels_or_depth_has_none() -> None:
    given = TrainingTransform((30, 40))(Planes(_scene().image), _rng())
    assert bool((given.labels == 255).all())
    assert not given.depth.any()


def test_zoom_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="zoom"):
        TrainingTransform((10, 10), (0.5, 1.0))


@given(
    st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.floats(1, 4), st.integers(0, 99)
)
def test_a_window_around_a_pixel_shows_it_and_lies_in_the_frame(
    row: float, column: float, zoom: float, seed: int
) -> None:
    y, x = int(row * 120), int(column * 160)
    plane = np.zeros((120, 160), np.uint8)
    # Its neighbours, too: rounding to whole pixels may push a pixel at the very edge out.
    plane[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 1
    window = Window.around(((y + 0.5) / 120, (x + 0.5) / 160), (zoom, zoom), _rng(seed))
    assert 0 <= window.top <= 1
    assert 0 <= window.left <= 1
    cut = window.cut(plane)
    assert cut.shape == (max(round(120 / zoom), 1), max(round(160 / zoom), 1))
    assert cut.any()


def test_labels_and_depth_are_never_averaged() -> None:
    labels = np.where(np.arange(80) < 37, 0, 20).astype(np.uint8)[None].repeat(60, 0)
    depth = np.where(labels, np.float32(40), np.float32(2))
    for size in ((37, 51), (90, 131)):
        for transform in (TrainingTransform(size, (1.0, 1.0)), evaluation_transform(size)):
            given = transform(Planes(np.zeros((60, 80, 3), np.uint8), labels, depth), _rng())
            assert given.labels.unique().tolist() == [0, 20]
            assert given.depth.unique().tolist() == [2.0, 40.0]
            assert torch.equal(given.depth > 20, given.labels == 20)


def test_chance_is_spread_as_it_says() -> None:
    transform = TrainingTransform((60, 80), zoom=(1.0, 1.0), jitter=0.0)
    mirrored = [bool(_red(transform(_scene(), _rng(seed)))[0, 0] > 40) for seed in range(100)]
    assert 0.3 < np.mean(mirrored) < 0.7
    # As many windows between 1 and 2 as between 2 and 4.
    zooms = [Window.random((1.0, 4.0), _rng(seed)).zoom for seed in range(400)]
    assert 0.4 < np.mean(np.array(zooms) < 2) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_colours_are_changed_by_the_matrix_of_rgb(seed: int) -> None:
    bgr = (_rng(9).integers(0, 256, (40, 60, 3)) * [1.0, 0.6, 0.3]).astype(np.uint8)
    given = TrainingTransform((40, 60), (1.0, 1.0), jitter=0.4, flip=0.0)(Planes(bgr), _rng(seed))
    rng = _rng(seed)
    rng.random(4)  # the window's and the mirror's
    rgb = bgr[..., ::-1].astype(np.float64)
    matrix = color_matrix(rgb.mean(axis=(0, 1)), 0.4, rng)
    expected = (rgb @ matrix[:, :3].T + matrix[:, 3]).clip(0, 255)
    np.testing.assert_allclose(given.image.permute(1, 2, 0).numpy(), expected, atol=0.7)  # in fixed point


def test_a_rare_class_of_few_pixels_draws_as_many_windows_as_one_of_many() -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[2, 2], labels[80:, 120:] = 17, 20
    planes = Planes(np.zeros((120, 160, 3), np.uint8), labels)
    transform = TrainingTransform((120, 160), (3.0, 3.0), 0.0, rare_classes=[17, 20], rare_probability=1.0)
    shown = [bool((transform(planes, _rng(seed)).labels == 17).any()) for seed in range(60)]
    assert 0.3 < np.mean(shown) < 0.7


def test_rare_classes_draw_windows_to_them() -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[3:6, 150:154] = 17
    planes = Planes(np.zeros((120, 160, 3), np.uint8), labels)

    def share(probability: float) -> float:
        transform = TrainingTransform(
            (120, 160), (2.0, 2.0), 0.0, rare_classes=[17, 20], rare_probability=probability
        )
        return float(
            np.mean([bool((transform(planes, _rng(seed)).labels == 17).any()) for seed in range(60)])
        )

    assert share(0.0) < 0.3
    assert share(1.0) == 1.0
    assert 0.4 < share(0.5) < 0.9
    planes.labels[:] = 0  # none in the image: any window
    assert share(1.0) == 0.0


def test_the_colour_matrix_is_brightness_contrast_and_saturation_as_torchvision_has_them() -> None:
    rgb = np.random.default_rng(1).integers(60, 190, (8, 8, 3)).astype(np.float64)

    class Chosen:
        """A generator that gives chosen numbers."""

        def __init__(self, *draw: float) -> None:
            self.draw = np.array(draw)

        def uniform(self, low: float, high: float, size: int) -> np.ndarray:
            return self.draw

    def ours(*draw: float) -> np.ndarray:
        matrix = color_matrix(rgb.mean(axis=(0, 1)), 0.3, Chosen(*draw))
        return rgb @ matrix[:, :3].T + matrix[:, 3]

    unit = torch.from_numpy(rgb.transpose(2, 0, 1)) / 255
    for draw, expected in (
        ((1.0, 0.0, 0.0, 0.0), reference.adjust_brightness(unit, 1.3)),
        ((0.0, -1.0, 0.0, 0.0), reference.adjust_contrast(unit, 0.7)),
        ((0.0, 0.0, 1.0, 0.0), reference.adjust_saturation(unit, 1.3)),
    ):
        np.testing.assert_allclose(ours(*draw), expected.numpy().transpose(1, 2, 0) * 255, atol=0.2)
    turned = ours(0.0, 0.0, 0.0, 1.0)
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], rgb @ [0.299, 0.587, 0.114], atol=0.5)
    # By an eighth of the strength, of the circle of chroma.
    chroma = [
        image @ np.array([[0.596, 0.211], [-0.274, -0.523], [-0.322, 0.312]]) for image in (rgb, turned)
    ]
    before, after = (item[..., 0] + 1j * item[..., 1] for item in chroma)
    angles = np.angle(after / before)[np.abs(before) > 10]
    np.testing.assert_allclose(np.abs(angles), 2 * np.pi * 0.3 / 8, atol=0.01)
