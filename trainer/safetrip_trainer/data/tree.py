"""What lies in a SafeTrip-Q tree: folders per source, the files of each, and what is missing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from safetrip_trainer.data.folder import Folder, list_folder
from safetrip_trainer.data.kitti_tree import scan_kitti
from safetrip_trainer.data.problems import Problem
from safetrip_trainer.errors import DatasetError

__all__ = ["SOURCES", "Tree", "folder_number", "scan_tree", "top_folders"]

SOURCES = {"surface": "Surface", "polygon": "Polygon", "depth": "Depth", "kitti": "Kitti"}
"""Source -> the tree's top folder that holds it."""

_IMAGES = (".jpg", ".jpeg", ".png")
_LEFT = "_L.png"


@dataclass(frozen=True)
class Tree:
    """A scanned tree: its folders with at least one usable-looking sample, and the problems met."""

    root: Path
    folders: tuple[Folder, ...]
    problems: tuple[Problem, ...]


def folder_number(name: str) -> int | None:
    """The number a folder's name ends with (`Surface_012` -> 12), or None."""
    match = re.search(r"(\d+)$", name)
    return int(match.group(1)) if match else None


def top_folders(root: Path) -> dict[str, str]:
    """Source -> top folder, of those that the tree at `root` has.

    Raises DatasetError where `root` is no folder or holds none of Surface/, Polygon/ and Depth/.
    """
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder; give the folder that holds Surface/, Polygon/ and Depth/"
        )
    present = {source: top for source, top in SOURCES.items() if (root / top).is_dir()}
    if not present:
        raise DatasetError(f"{root}: holds none of Surface/, Polygon/ and Depth/; give the tree's top folder")
    return present


def scan_tree(root: Path) -> Tree:
    """List a tree's folders and files without opening any; raises as `top_folders` does."""
    folders: list[Folder] = []
    problems: list[Problem] = []
    for source, top in top_folders(root).items():
        entries = list_folder(root, top, problems)
        if not any(entry.is_dir() for entry in entries):
            problems.append(Problem(top, "holds no folder"))
        if source == "kitti":
            folders += scan_kitti(root, top, problems)
            continue
        for entry in entries:
            if not entry.is_dir():
                problems.append(Problem(f"{top}/{entry.name}", "a file beside the folders; left out"))
                continue
            scan = _scan_depth if source == "depth" else _scan_annotated
            path = f"{top}/{entry.name}"
            folder = scan(source, path, list_folder(root, path, problems), problems)
            if folder is not None:
                folders.append(folder)
    return Tree(root, tuple(folders), tuple(problems))


def _scan_annotated(
    source: str, path: str, entries: list[os.DirEntry[str]], problems: list[Problem]
) -> Folder | None:
    names = tuple(entry.name for entry in entries if entry.name.lower().endswith(_IMAGES))
    xmls = tuple(entry.name for entry in entries if entry.name.lower().endswith(".xml"))
    if not names:
        deeper = [entry.name for entry in entries if entry.is_dir() or entry.name.lower().endswith(".zip")]
        hint = f"; what is in {', '.join(sorted(deeper))} belongs into this folder itself" if deeper else ""
        problems.append(Problem(path, f"no image (*.jpg){hint}"))
        return None
    if not xmls:
        problems.append(Problem(path, f"no CVAT XML: its {len(names)} image(s) have no annotation; left out"))
        return None
    return Folder(source, path, names, xmls)


def _scan_depth(
    source: str, path: str, entries: list[os.DirEntry[str]], problems: list[Problem]
) -> Folder | None:
    files = {entry.name for entry in entries}
    confs = tuple(sorted(name for name in files if name.lower().endswith(".conf")))
    stems = sorted(name.removesuffix(_LEFT) for name in files if name.endswith(_LEFT))
    orphans = sorted(name for name in files if name.endswith("_disp16.png"))
    for name in orphans:
        if name.replace("_disp16.png", _LEFT) not in files:
            problems.append(Problem(f"{path}/{name}", f"no *{_LEFT} beside it"))
    if not stems:
        problems.append(Problem(path, f"no left image (*{_LEFT})"))
        return None
    if len(confs) != 1:
        found = "no .conf" if not confs else f"{len(confs)} .conf files"
        problems.append(Problem(path, f"{found}: its {len(stems)} sample(s) have no scale; left out"))
        return None
    return Folder(source, path, tuple(stems), confs)
