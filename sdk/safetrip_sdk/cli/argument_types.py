"""What arguments are read as: sizes, counts and shares, within what every library can take."""

from __future__ import annotations

import argparse
import logging
import math
import re
from collections.abc import Callable

from safetrip_sdk.manifest import MAX_SIDE

__all__ = ["fraction", "frame_size", "number", "whole"]

log = logging.getLogger(__name__)

_LARGEST = (1 << 31) - 1


def frame_size(text: str) -> tuple[int, int]:
    """`1080x1920` -> (1080, 1920): height first, like an array's shape. A portrait is pointed out.

    Cameras and `trainer synth` say it the other way around, and nothing would fail: an engine would be built
    that no frame fits.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    height, width = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise argparse.ArgumentTypeError(
            f"{text!r}: want HEIGHTxWIDTH, such as 1080x1920, at most {MAX_SIDE} each"
        )
    if height > width:
        log.warning("%s is read as HEIGHTxWIDTH: higher than wide; did you mean %dx%d?", text, width, height)
    return height, width


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type of whole numbers from `least` to `most`, both included."""
    wanted = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= (_LARGEST if most is None else most):
            raise argparse.ArgumentTypeError(f"{text!r}: want a whole number, {wanted}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """A type of numbers from `least` to `most`, both included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: want a number from {least:g} to {most:g}")
        return value

    return parse


fraction = number(0, 1)
"""A number from 0 to 1."""
