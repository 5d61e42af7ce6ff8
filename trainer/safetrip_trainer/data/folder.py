"""One folder of a tree: a walk, or a drive."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from safetrip_trainer.data.problems import Problem
from safetrip_trainer.errors import DatasetError

__all__ = ["Folder", "list_folder"]


@dataclass(frozen=True)
class Folder:
    """One walk. `path` is relative to the tree ("Surface/Surface_001").

    `names`: image file names of a surface or polygon folder, stems of a depth folder's samples,
    "image_02/0000000005" of a KITTI drive; `metadata`: its XML files, its .conf, or the drive's folder with
    the camera images, relative to the tree.
    """

    source: str
    path: str
    names: tuple[str, ...]
    metadata: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's own name, as `--val-folders` takes it."""
        return self.path.rsplit("/", 1)[-1]


def list_folder(root: Path, path: str, problems: list[Problem]) -> list[os.DirEntry[str]]:
    """Visible entries of `root`/`path` by name; hidden ones (.DS_Store and the like) are nobody's data.

    A name that is no text, as an archive of another system leaves it, is a problem: no index could hold it.
    DatasetError where the folder cannot be listed.
    """
    try:
        with os.scandir(root / path) as found:
            entries = sorted((item for item in found if not item.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DatasetError(f"{root / path}: cannot be listed: {error.strerror or error}") from error
    unreadable = [entry for entry in entries if not _is_text(entry.name)]
    for entry in unreadable:
        shown = os.fsencode(entry.name).decode(errors="replace")
        problems.append(Problem(f"{path}/{shown}", "its name is no UTF-8; rename it"))
    return [entry for entry in entries if entry not in unreadable] if unreadable else entries


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
