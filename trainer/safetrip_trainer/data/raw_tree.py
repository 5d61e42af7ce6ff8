"""A raw tree that is trained on: prepared first, and watched for what is added later."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from safetrip_trainer.data.files import read_json
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.tree import scan_tree, top_folders

__all__ = ["prepare_tree", "warn_of_more"]

logger = logging.getLogger(__name__)

_NAMED = 3


def prepare_tree(root: Path, prepared: Path) -> None:
    """Prepares the tree at `root` to `prepared`; DatasetError where it is none, or none of it is usable."""
    from safetrip_trainer.data.prepare import prepare

    top_folders(root)  # no tree at all is said by itself
    logger.info("%s is a raw tree: preparing it to %s", root, prepared)
    prepare(root, prepared)


def warn_of_more(root: Path, index: PreparedIndex) -> None:
    """Names what the tree at `root` has by now that `index`, made from it, does not know.

    Prepared again it might be split in another way: that is for people to decide.
    """
    more = _folders_with_more(root, index) if root.is_dir() else []
    if more:
        others = f" and {len(more) - _NAMED} more folders" if len(more) > _NAMED else ""
        logger.warning(
            "%s lacks samples that %s has by now (%s): `trainer prepare %s --out %s`, with the options it "
            "was made with, takes them in",
            index.prepared,
            root,
            ", ".join(more[:_NAMED]) + others,
            root,
            index.prepared,
        )


def _folders_with_more(root: Path, index: PreparedIndex) -> list[str]:
    """Folders of the tree at `root` with more samples than `index` and its problems tell of, by path.

    By names alone, so that it costs a listing: what changed within files is `trainer prepare`'s to find.
    """
    tree = scan_tree(root)
    told = {item["path"] for item in read_json(index.prepared / "problems.json")["problems"]}
    counts = Counter(sample.folder for sample in index.samples)
    # A sample's own problems do not count again.
    counts.update(map(_folder, told - {sample.image for sample in index.samples}))
    return [
        folder.path
        for folder in tree.folders
        # Where its annotations are at fault, its images are not named one by one.
        if told.isdisjoint((folder.path, *(f"{folder.path}/{name}" for name in folder.metadata)))
        # KITTI's images, and their problems, lie elsewhere.
        and counts[folder.path] < (1 if folder.source == "kitti" else len(folder.names))
    ]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
