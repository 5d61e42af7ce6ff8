"""KITTI's folders: annotated depth by drive, and the camera images it belongs to.

As KITTI's archives unpack below the tree's `Kitti/`: depth at
`{train,val}/DRIVE/proj_depth/groundtruth/image_0{2,3}/FRAME.png`, images at
`DATE/DRIVE/image_0{2,3}/data/FRAME.png` (or `.jpg`), which may also lie under `raw/` or in the depth's own
drive folder.
"""

from __future__ import annotations

from pathlib import Path

from safetrip_trainer.data.folder import Folder, list_folder
from safetrip_trainer.data.problems import Problem

__all__ = ["kitti_files", "scan_kitti"]

_PARTS = ("train", "val")
_DEPTH = "proj_depth/groundtruth"
_CAMERAS = ("image_02", "image_03")
_SUFFIXES = (".png", ".jpg")


def kitti_files(folder: Folder, name: str) -> tuple[str, str]:
    """Image and depth of the sample "image_02/0000000005", relative to the tree."""
    images, suffix = folder.metadata
    camera, frame = name.split("/")
    return f"{images}/{camera}/data/{frame}{suffix}", f"{folder.path}/{_DEPTH}/{camera}/{frame}.png"


def scan_kitti(root: Path, top: str, problems: list[Problem]) -> list[Folder]:
    """The drives with depth below `root`/`top`, one folder each (both cameras of a drive see one walk)."""
    folders = []
    for part in _PARTS:
        if not (root / top / part).is_dir():
            continue
        for drive in list_folder(root, f"{top}/{part}", problems):
            path = f"{top}/{part}/{drive.name}"
            if (root / path / _DEPTH).is_dir():
                folder = _scan_drive(root, top, path, problems)
                folders += [folder] if folder is not None else []
    if not folders:
        problems.append(Problem(top, f"no drive: expected {top}/train/DRIVE/{_DEPTH}/image_02/*.png"))
    return folders


def _scan_drive(root: Path, top: str, path: str, problems: list[Problem]) -> Folder | None:
    drive = path.rsplit("/", 1)[-1]
    places = (path, f"{top}/{drive[:10]}/{drive}", f"{top}/raw/{drive[:10]}/{drive}")
    choices = ((place, suffix) for place in places for suffix in _SUFFIXES)
    chosen = next((choice for choice in choices if _has_images(root, *choice, problems)), None)
    if chosen is None:
        problems.append(Problem(path, f"no camera image; unpack KITTI's raw data to {places[1]}"))
        return None
    images, suffix = chosen
    names: list[str] = []
    lacking = 0
    for camera in _CAMERAS:
        there = _stems(root, f"{images}/{camera}/data", suffix, problems)
        depths = _stems(root, f"{path}/{_DEPTH}/{camera}", ".png", problems)
        names += [f"{camera}/{frame}" for frame in sorted(depths & there)]
        lacking += len(depths - there)
    if lacking:
        problems.append(Problem(path, f"{lacking} depth file(s) without an image in {images}"))
    return Folder("kitti", path, tuple(names), (images, suffix)) if names else None


def _has_images(root: Path, place: str, suffix: str, problems: list[Problem]) -> bool:
    return any(_stems(root, f"{place}/{camera}/data", suffix, problems) for camera in _CAMERAS)


def _stems(root: Path, folder: str, suffix: str, problems: list[Problem]) -> set[str]:
    names = [entry.name for entry in list_folder(root, folder, problems)] if (root / folder).is_dir() else []
    return {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
