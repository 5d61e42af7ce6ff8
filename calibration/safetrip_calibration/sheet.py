"""Pictures with titles in a grid, and a line of coloured keys below: one sheet that explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["GAP", "TITLE", "WIDTH", "Tile", "sheet"]

GAP = 6  # pixels between pictures
TITLE = 20  # height of a line of text
WIDTH = 320  # narrower pictures are enlarged, so that their titles fit
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_INK, _PAPER = (32, 32, 32), 255


@dataclass(frozen=True)
class Tile:
    """A picture, (h, w, 3) uint8 BGR, and what it shows."""

    title: str
    picture: NDArray[np.uint8]


def _enlarge(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A narrow picture by a whole factor: every pixel stays one flat square."""
    factor = max(1, -(-WIDTH // picture.shape[1]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def sheet(
    rows: Sequence[Sequence[Tile]], keys: Sequence[tuple[str, tuple[int, int, int]]]
) -> NDArray[np.uint8]:
    """Rows of tiles of one size, titles above them, and what the colours (BGR) mean below.

    Args:
        rows: of equally many tiles each, of one size.
        keys: name and colour of each entry; they fill as many lines as they need.
    """
    made = [_row(tiles) for tiles in rows]
    made.append(_keys(keys, made[0].shape[1]))
    return np.vstack(made)


def _row(tiles: Sequence[Tile]) -> NDArray[np.uint8]:
    columns: list[NDArray[np.uint8]] = []
    for tile in tiles:
        picture = _enlarge(tile.picture)
        title = np.full((TITLE, picture.shape[1], 3), _PAPER, np.uint8)
        _write(title, _fitting(tile.title, picture.shape[1]), 2)
        columns += [
            np.vstack([title, picture]),
            np.full((TITLE + picture.shape[0], GAP, 3), _PAPER, np.uint8),
        ]
    return np.hstack(columns[:-1])


def _keys(keys: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> NDArray[np.uint8]:
    lines: list[NDArray[np.uint8]] = []
    left = width
    for text, colour in keys:
        needed = TITLE + cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] + 2 * GAP
        if left + needed > width:
            lines.append(np.full((TITLE, width, 3), _PAPER, np.uint8))
            left = GAP
        cv2.rectangle(lines[-1], (left, 5), (left + 12, TITLE - 4), colour, -1)
        cv2.rectangle(lines[-1], (left, 5), (left + 12, TITLE - 4), _INK, 1)  # pale colours, too, on paper
        _write(lines[-1], text, left + TITLE - 2)
        left += needed
    return np.vstack(lines) if lines else np.full((GAP, width, 3), _PAPER, np.uint8)


def _write(image: NDArray[np.uint8], text: str, left: int) -> None:
    cv2.putText(image, text, (left, TITLE - 6), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)


def _fitting(text: str, width: int) -> str:
    """The end of a text that is too long: names of frames differ there."""
    while text and cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] > width - 4:
        text = f"...{text.removeprefix('...')[1:]}"
    return text
