"""Argument types that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = ["numbers", "size", "sizes"]


def size(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH`, e.g. `512x512`, to (height, width)."""
    height, separator, width = text.lower().partition("x")
    if not (separator and height.isdigit() and width.isdigit() and int(height) > 0 and int(width) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 288x512")
    return int(height), int(width)


def sizes(text: str) -> list[tuple[int, int]]:
    """Several of `size`, with commas between."""
    return [size(part) for part in text.split(",")]


def numbers(kind: type[int] | type[float]) -> Callable[[str], list[float]]:
    """A type of positive numbers with commas between."""

    def parse(text: str) -> list[float]:
        try:
            found = [kind(part) for part in text.split(",")]
        except ValueError:
            found = []
        if not found or min(found) <= 0:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of positive numbers, such as 0.5,1.0")
        return list(found)

    return parse
