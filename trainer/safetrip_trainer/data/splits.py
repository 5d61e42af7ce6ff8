"""Train and validation by folder: neighbouring frames of one walk are near-duplicates and stay together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from safetrip_trainer.data.folder import Folder
from safetrip_trainer.data.tree import folder_number
from safetrip_trainer.errors import DatasetError

__all__ = ["split_by_fraction", "split_by_name"]


def split_by_name(folders: Sequence[Folder], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Validate on the folders named: `Surface_012`, `Surface/Surface_012`, or `012` (in every source).

    Returns folder path -> "train" or "val", and notes for the reader. Raises DatasetError for a name that no
    folder has, and where nothing is left to train on.
    """
    splits = {folder.path: "train" for folder in folders}
    for name in names:
        chosen = [folder for folder in folders if _matches(folder, name)]
        if not chosen:
            known = ", ".join(folder.name for folder in folders[:8])
            raise DatasetError(f"--val-folders: no usable folder {name!r}; there are {known}, ...")
        splits.update({folder.path: "val" for folder in chosen})
    if folders and "train" not in splits.values():
        raise DatasetError("--val-folders names every usable folder; leave some to train on")
    return splits, _notes(folders, splits)


def _matches(folder: Folder, name: str) -> bool:
    if name.isdigit():
        return folder_number(folder.name) == int(name)
    return name.strip("/") in (folder.name, folder.path)


def split_by_fraction(
    folders: Sequence[Folder], fraction: float, seed: int
) -> tuple[dict[str, str], list[str]]:
    """About `fraction` of each source's folders for validation, the same for the same names and seed.

    Folders with the same number go the same way (Surface_003 and Polygon_0003 may show one walk), as far as
    the sources' shares allow. Every source keeps at least one folder in train, and has one in val where it
    has two. Returns folder path -> split, and notes.
    """
    if not 0.0 <= fraction < 1.0:
        raise DatasetError(f"--val-fraction {fraction}: expected 0 <= fraction < 1")
    groups: dict[str, list[Folder]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for folder in folders:
        number = folder_number(folder.name)
        groups[folder.name if number is None else str(number)].append(folder)
        counts[folder.source] += 1
    need = {source: _val_count(count, fraction) for source, count in counts.items()}
    splits = {folder.path: "train" for folder in folders}
    # Numbers that more sources share come first: taken last, they would find one of their sources full.
    for _, group in sorted(groups.items(), key=lambda item: (-len(item[1]), _rank(seed, item[0]))):
        if all(need[folder.source] > 0 for folder in group):
            _choose(group, splits, need)
    # What is still short (its numbers were all taken elsewhere) is filled by itself.
    for folder in sorted(folders, key=lambda item: _rank(seed, item.path)):
        if need[folder.source] > 0 and splits[folder.path] == "train":
            _choose([folder], splits, need)
    return splits, _notes(folders, splits)


def _choose(group: Iterable[Folder], splits: dict[str, str], need: dict[str, int]) -> None:
    for folder in group:
        splits[folder.path] = "val"
        need[folder.source] -= 1


def _val_count(count: int, fraction: float) -> int:
    if fraction == 0.0 or count < 2:
        return 0
    return min(max(round(count * fraction), 1), count - 1)


def _rank(seed: int, name: str) -> str:
    """A stable pseudo-random order: hash() differs per process, a shuffle depends on the list's order."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _notes(folders: Sequence[Folder], splits: dict[str, str]) -> list[str]:
    notes = []
    by_source: dict[str, list[Folder]] = defaultdict(list)
    for folder in folders:
        by_source[folder.source].append(folder)
    for source, members in by_source.items():
        held = {splits[folder.path] for folder in members}
        if held == {"train"}:
            why = (
                f"its only folder ({members[0].name}) trains"
                if len(members) == 1
                else "all its folders train"
            )
            notes.append(f"{source}: no validation folder, {why}")
        if held == {"val"}:
            notes.append(f"{source}: no training folder, all its folders validate")
    return notes
