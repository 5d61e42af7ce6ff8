"""Argument types that several verbs share."""

from __future__ import annotations

import argparse

__all__ = ["size"]


def size(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH`, e.g. `512x512`, to (height, width)."""
    height, separator, width = text.lower().partition("x")
    if not (separator and height.isdigit() and width.isdigit() and int(height) > 0 and int(width) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 288x512")
    return int(height), int(width)
