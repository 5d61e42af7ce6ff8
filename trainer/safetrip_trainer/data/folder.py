"""One folder of a tree: a walk, or a drive."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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


def list_folder(path: Path) -> list[os.DirEntry[str]]:
    """Visible entries by name; hidden ones (.DS_Store and the like) are nobody's data."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                (entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name
            )
    except OSError as error:
        raise DatasetError(f"{path}: cannot be listed: {error.strerror or error}") from error
