"""What a path is that holds no prepared set, and the command that helps."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from safetrip_trainer.data.index import HEADER_FILE, UNITS_FOLDER
from safetrip_trainer.data.tree import SOURCES

__all__ = ["beside", "explain"]


def beside(tree: Path) -> Path:
    """Where a raw tree's prepared set goes unless somebody says otherwise: never into the tree."""
    return Path(f"{tree if tree.name else tree.absolute()}-prepared")


def explain(folder: Path) -> str:
    """ "is a raw tree; run ...", for a path without a header: the end of an error's sentence.

    A part of a raw tree, or of a prepared set, and a folder around either are told from what lies above and
    below. Nothing that it advises writes into a tree or into other people's files.
    """
    place = Path(os.path.abspath(folder))
    home = Path.cwd()

    def shown(path: Path) -> Path:
        return path if folder.is_absolute() or not path.is_relative_to(home) else path.relative_to(home)

    def prepare(tree: Path) -> str:
        return f"run {_command(shown(tree), shown(beside(tree)))}, and give that"

    for around in (place, *place.parents):
        if (around / HEADER_FILE).is_file():
            return f"is a part of the prepared set {shown(around)}; give that"
        if (around / UNITS_FOLDER).is_dir():
            return f"is incomplete; run {_command('DATA', shown(around))}"
    if (tree := _tree_of(place)) is not None:
        what = "is a raw tree" if tree == place else f"belongs to the raw tree {shown(tree)}"
        return f"{what}; {prepare(tree)}"
    elsewhere = f"run {_command('DATA', 'PREPARED')}, and give that PREPARED"
    if place.is_file():
        return f"is a file; {elsewhere}"
    if not place.exists():
        return f"does not exist; run {_command('DATA', folder)}"
    below = sorted(item for item in place.iterdir() if item.is_dir())
    if found := [str(shown(item)) for item in below if (item / HEADER_FILE).is_file()]:
        sets, give = ("set", "that") if len(found) == 1 else ("sets", "one of them")
        return f"holds the prepared {sets} {', '.join(found[:3])}; give {give}"
    if tree := next(filter(_is_tree, below), None):
        return f"holds the raw tree {shown(tree)}; {prepare(tree)}"
    if not any(place.iterdir()):
        return f"is empty; run {_command('DATA', folder)}"
    return f"is no prepared set; {elsewhere}"


def _command(data: Path | str, out: Path | str) -> str:
    return f"'{shlex.join(('trainer', 'prepare', str(data), '--out', str(out)))}'"


def _is_tree(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in SOURCES.values())


def _tree_of(place: Path) -> Path | None:
    """The raw tree that a path is, lies in or would lie in; None for a path elsewhere."""
    for around in filter(_is_tree, (place, *place.parents)):
        inside = place.relative_to(around).parts
        # Further down beside its sources: somebody's folder that only happens to be called Depth lies above.
        if len(inside) < 2 or inside[0] in SOURCES.values():
            return around
    return None
