"""Augmentation with torchvision.transforms.v2 on tv_tensors: one geometry for image, labels and depth."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from safetrip_trainer.model.preprocess import normalize, resize

__all__ = ["DepthMap", "RandomZoomCrop", "ToNetInput", "evaluation_transform", "training_transform"]


class DepthMap(tv_tensors.Mask):
    """(H, W) float32 metres, 0 where there is no measurement.

    A `Mask`, so that every geometric transform samples it with the nearest neighbour: a mean over the edge of
    an obstacle would be a distance at which nothing stands.
    """


class RandomZoomCrop(v2.Transform):
    """A random window of the frame, of the frame's shape, brought to the net's input size.

    A window 1/z as wide and high makes everything z times as large, as if it stood z times as near: depth is
    divided by z. Image, labels and depth may come at different resolutions (a JPEG decoded at reduced scale);
    the window is a share of each.

    Args:
        size: (h, w) of the result.
        zoom: smallest and largest z, at least 1; (1, 1) keeps the whole frame.
    """

    def __init__(self, size: tuple[int, int], zoom: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__()
        if not 1.0 <= zoom[0] <= zoom[1]:
            raise ValueError(f"zoom {zoom}: expected 1 <= smallest <= largest")
        self.size = (size[0], size[1])
        self.zoom = (zoom[0], zoom[1])

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        low, high = (math.log(z) for z in self.zoom)
        draw = torch.rand(3).tolist()
        return {"zoom": math.exp(low + (high - low) * draw[0]), "top": draw[1], "left": draw[2]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        height, width = inpt.shape[-2:]
        zoom = params["zoom"]
        crop_h, crop_w = max(round(height / zoom), 1), max(round(width / zoom), 1)
        top, left = round((height - crop_h) * params["top"]), round((width - crop_w) * params["left"])
        window = inpt.as_subclass(Tensor)[..., top : top + crop_h, left : left + crop_w]
        if isinstance(inpt, tv_tensors.Image):
            return tv_tensors.Image(resize(window[None].float(), self.size)[0])
        planes = window[None, None].float()
        resized = F.interpolate(planes, size=self.size, mode="nearest-exact")[0, 0]
        if isinstance(inpt, DepthMap):
            return DepthMap(resized / zoom)
        return tv_tensors.Mask(resized.to(inpt.dtype))


class RandomPhotometric(v2.Transform):
    """Brightness, contrast, saturation and hue of an image in 0..255, by torchvision's ColorJitter."""

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.jitter = v2.ColorJitter(strength, strength, strength, min(strength / 8, 0.5))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        # Arithmetic takes the tv_tensor's type off, and the steps after this one go by type.
        unit = tv_tensors.Image(inpt.clamp(0, 255) / 255.0)
        return tv_tensors.Image(self.jitter(unit) * 255.0)


class ToNetInput(v2.Transform):
    """RGB 0..255 float to the net's normalised input."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return normalize(inpt.as_subclass(Tensor)[None])[0]


def training_transform(
    size: tuple[int, int], zoom: tuple[float, float] = (1.0, 2.0), jitter: float = 0.3, flip: float = 0.5
) -> v2.Transform:
    """Random window, mirror and colours; then the net's normalisation."""
    steps: list[v2.Transform] = [RandomZoomCrop(size, zoom), v2.RandomHorizontalFlip(flip)]
    if jitter > 0:
        steps.append(RandomPhotometric(jitter))
    return v2.Compose([*steps, ToNetInput()])


def evaluation_transform(size: tuple[int, int]) -> v2.Transform:
    """The whole frame at the net's input size: what the deploy graph does on the robot."""
    return v2.Compose([RandomZoomCrop(size), ToNetInput()])
