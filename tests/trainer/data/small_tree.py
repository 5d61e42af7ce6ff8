"""Small SafeTrip-Q trees, written by hand: what a test does not say is as simple as the format allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 48, 32
SQUARE = "4,4;20,4;20,20;4,20"


def polygon(label: str, points: str = SQUARE, **attributes: object) -> str:
    """A `<polygon>` element."""
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<polygon label="{label}" points="{points}"{more}><attribute name="a">1</attribute></polygon>'


def image_element(name: str, content: str, width: int | str = WIDTH, height: int | str = HEIGHT) -> str:
    """An `<image>` element."""
    return f'<image id="0" name="{name}" width="{width}" height="{height}">{content}</image>'


def annotations(*images: str) -> str:
    """A whole CVAT file."""
    start = "<?xml version='1.0' encoding='utf-8'?><annotations><version>1.1</version>"
    return f"{start}{''.join(images)}</annotations>"


def write_image(path: Path, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Path:
    """A picture of noise (JPEG or PNG by suffix)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_annotated(root: Path, folder: str, elements: Mapping[str, str]) -> Path:
    """`folder` ("Surface/Surface_001") with an image for each name and one XML holding `elements`."""
    path = root / folder
    for number, name in enumerate(elements):
        write_image(path / name, seed=number)
    text = annotations(*(image_element(name, content) for name, content in elements.items()))
    (path / f"{path.name}.xml").write_text(text, encoding="utf-8")
    return path


def write_depth(root: Path, folder: str, names: list[str], conf: str = "BaseLine=120.0\nfx=100.0\n") -> Path:
    """Disparity 8 pixels but for an unknown left column; confidence 160 in the upper half, 255 below."""
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{path.name}.conf").write_text(conf)
    disparity = np.full((HEIGHT, WIDTH), 8 * 256, np.uint16)
    disparity[:, 0] = 0
    confidence = np.full((HEIGHT, WIDTH), 255, np.uint8)
    confidence[: HEIGHT // 2] = 160
    for number, name in enumerate(names):
        write_image(path / f"{name}_L.png", seed=100 + number)
        cv2.imwrite(str(path / f"{name}_disp16.png"), disparity)
        cv2.imwrite(str(path / f"{name}_confidence_save.png"), confidence)
    return path


def write_tree(root: Path, folders: int = 3) -> Path:
    """A sound tree: `folders` of each kind with two samples each."""
    for number in range(1, folders + 1):
        names = [f"frame_{number}_{index}.jpg" for index in range(2)]
        surface = polygon("sidewalk") + polygon("roadway", "22,4;40,4;40,20;22,20")
        write_annotated(root, f"Surface/Surface_{number:03d}", dict.fromkeys(names, surface))
        write_annotated(root, f"Polygon/Polygon_{number:04d}", {name: polygon("person") for name in names})
        write_depth(root, f"Depth/Depth_{number:03d}", [f"d{number}_{index}" for index in range(2)])
    return root
