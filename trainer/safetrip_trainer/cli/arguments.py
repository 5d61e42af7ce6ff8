"""Argument types that several verbs share."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from safetrip_sdk.backends import BACKENDS
from safetrip_sdk.cli.argument_types import frame_size
from safetrip_sdk.manifest import PRECISIONS
from safetrip_trainer.errors import TrainerError

__all__ = [
    "above_zero",
    "add_predictor_arguments",
    "names",
    "numbers",
    "output_file",
    "output_folder",
    "prepared_set",
    "require_there",
    "size",
    "sizes",
]


def size(text: str) -> tuple[int, int]:
    """`HEIGHTxWIDTH`, e.g. `288x512`, to (height, width)."""
    return frame_size(text.lower())


def sizes(text: str) -> list[tuple[int, int]]:
    """Several of `size`, with commas between."""
    return [size(part) for part in text.split(",")]


def add_predictor_arguments(parser: argparse.ArgumentParser) -> None:
    """A checkpoint or a bundle and how it is asked, as `open_predictor` has it."""
    parser.add_argument("source", metavar="CKPT_OR_BUNDLE", type=Path, help="a checkpoint or a bundle")
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="HEIGHTxWIDTH",
        help="for a checkpoint, such as 288x512; default: as trained",
    )
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="for a bundle; default auto"
    )
    parser.add_argument(
        "--precision", choices=("auto", *PRECISIONS), default="auto", help="for a bundle; default auto"
    )


def require_there(path: Path, kind: str) -> None:
    """TrainerError where there is nothing at `path`: told at once, where torch takes seconds to import."""
    if not path.exists():
        raise TrainerError(f"{path}: no such {kind}")


def prepared_set(text: str) -> Path:
    """A folder that `trainer prepare` wrote; of a cache's address it is said that training alone takes it."""
    from safetrip_trainer.data.cache.store import is_url, plain

    if is_url(text):
        raise TrainerError(
            f"{text}: is an address, from which training alone reads; give the prepared set's folder here"
        )
    return Path(plain(text))


def names(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(kind: type[int] | type[float]) -> Callable[[str], list[float]]:
    """A type of positive numbers with commas between."""

    def parse(text: str) -> list[float]:
        try:
            found = [kind(part) for part in text.split(",")]
        except ValueError:
            found = []
        if not found or not all(0 < number < math.inf for number in found):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of positive numbers, such as 0.5,1.0")
        return list(found)

    return parse


def above_zero(text: str) -> float:
    """A number above 0."""
    return numbers(float)(text)[0]


def output_file(text: str) -> Path:
    """A file that can be written: better known before an hour's work than after it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder; name a file")
    _require_writable(path.parent)
    return path


def output_folder(text: str) -> Path:
    """A folder that can be written to, or made."""
    path = Path(text)
    _require_writable(path)
    return path


def _require_writable(folder: Path) -> None:
    nearest = next(item for item in (folder, *folder.absolute().parents) if item.exists())
    if not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"{nearest}: is a file; a folder is wanted there")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{nearest}: no permission to write there")
