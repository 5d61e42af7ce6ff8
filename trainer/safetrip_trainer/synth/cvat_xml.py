"""Outlines -> a CVAT-for-images 1.1 file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from safetrip_trainer.classes import CLASS_NAMES
from safetrip_trainer.synth.outline import Outline

__all__ = ["ImageOutlines", "cvat_xml"]


@dataclass(frozen=True)
class ImageOutlines:
    """An image's file name, size in pixels, and its outlines, the lowest first."""

    name: str
    width: int
    height: int
    outlines: Sequence[Outline]


def cvat_xml(task: str, images: Sequence[ImageOutlines]) -> str:
    """The file's text; z_order counts from 0 at the lowest outline of each image."""
    parts = [
        "<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n  <version>1.1</version>\n",
        f"  <meta><task><name>{task}</name><size>{len(images)}</size><mode>annotation</mode></task></meta>\n",
    ]
    for number, image in enumerate(images):
        size = f'width="{image.width}" height="{image.height}"'
        parts.append(f'  <image id="{number}" name={quoteattr(image.name)} {size}>\n')
        parts += _polygons(image.outlines)
        parts.append("  </image>\n")
    parts.append("</annotations>\n")
    return "".join(parts)


def _polygons(outlines: Sequence[Outline]) -> Iterable[str]:
    for order, outline in enumerate(outlines):
        points = ";".join(f"{x}.00,{y}.00" for x, y in outline.points.tolist())
        yield (
            f'    <polygon label="{CLASS_NAMES[outline.label]}" source="manual" '
            f'occluded="{int(outline.occluded)}" points="{points}" z_order="{order}">\n'
            f'      <attribute name="pixels">{outline.area}</attribute>\n    </polygon>\n'
        )
