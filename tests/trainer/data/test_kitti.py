"""KITTI's depth in KITTI's own folders becomes a fourth source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from tests.trainer.data.small_tree import HEIGHT, WIDTH, write_image, write_tree

QUIET = PrepareOptions(workers=1, progress=False)
DRIVES = ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0002_sync")


def write_drive(root: Path, drive: str, images: str, suffix: str = ".png", frames: int = 2) -> None:
    """Both cameras of a drive: a sparse depth of 12.5 m on every third row."""
    for camera in ("image_02", "image_03"):
        for number in range(5, 5 + frames):
            depth = np.zeros((HEIGHT, WIDTH), np.uint16)
            depth[::3] = 12.5 * 256
            path = root / f"Kitti/train/{drive}/proj_depth/groundtruth/{camera}/{number:010d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), depth)
            write_image(root / "Kitti" / images / camera / f"data/{number:010d}{suffix}", seed=number)


@pytest.mark.parametrize(
    ("images", "suffix"),
    [
        (f"2011_09_26/{DRIVES[0]}", ".png"),
        (f"raw/2011_09_26/{DRIVES[0]}", ".jpg"),
        (f"train/{DRIVES[0]}", ".png"),
    ],
)
def test_depth_is_read_in_metres_wherever_the_images_lie(tmp_path: Path, images: str, suffix: str) -> None:
    write_drive(tmp_path / "tree", DRIVES[0], images, suffix)
    report = prepare(tmp_path / "tree", tmp_path / "out", QUIET)
    assert not report.problems
    index = PreparedIndex.load(tmp_path / "out")
    assert [sample.id.split("/", 2)[2] for sample in index.samples] == [
        f"{DRIVES[0]}/image_0{camera}/{number:010d}" for camera in (2, 3) for number in (5, 6)
    ]
    depth = index.load_depth(index.samples[0])
    assert depth is not None
    assert np.all(depth[::3] == 12.5)
    assert np.isnan(depth[1::3]).all()
    assert index.load_image(index.samples[0]).shape == (HEIGHT, WIDTH, 3)


def test_a_drive_is_never_split_and_what_lacks_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for drive in DRIVES:
        write_drive(tree, drive, f"2011_09_26/{drive}")
    lost = tree / f"Kitti/2011_09_26/{DRIVES[0]}/image_02/data/0000000005.png"
    lost.unlink()
    write_drive(tree, "2011_09_28_drive_0009_sync", "elsewhere")
    empty = tree / f"Kitti/train/{DRIVES[1]}/proj_depth/groundtruth/image_03/0000000006.png"
    cv2.imwrite(str(empty), np.zeros((HEIGHT, WIDTH), np.uint16))
    report = prepare(tree, tmp_path / "out", QUIET)
    reasons = {problem.path.rsplit("/", 1)[-1]: problem.reason for problem in report.problems}
    assert "1 depth file(s) without an image" in reasons[DRIVES[0]]
    assert len(reasons) == 3, "each is named once"
    assert "unpack KITTI's raw data to Kitti/2011_09_28/" in reasons["2011_09_28_drive_0009_sync"]
    assert "no pixel with a depth" in reasons["0000000006.png"]
    splits = {sample.folder: set() for sample in report.index.samples}
    for sample in report.index.samples:
        splits[sample.folder].add(sample.split)
    assert sorted(map(sorted, splits.values())) == [["train"], ["val"]]


def test_every_batch_has_its_share_of_kitti(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    for drive in DRIVES:
        write_drive(tree, drive, f"2011_09_26/{drive}")
    prepare(tree, tmp_path / "out", QUIET)
    ratios = {"surface": 1, "polygon": 1, "depth": 1, "kitti": 1}
    module = SafetripDataModule(
        str(tmp_path / "out"), ratios=ratios, size=(16, 24), batch_size=4, num_workers=0, zoom=(1.0, 1.0)
    )
    module.setup("fit")
    for batch in module.train_dataloader():
        sources = [name.split("/")[0] for name in batch["name"]]
        assert sorted(sources) == ["Depth", "Kitti", "Polygon", "Surface"]
        depth = batch["depth"][sources.index("Kitti")]
        assert set(depth.unique().tolist()) == {0.0, 12.5}


def test_a_folder_without_any_drive_is_a_problem(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "Kitti/stuff").mkdir(parents=True)
    report = prepare(tree, tmp_path / "out", QUIET)
    assert [problem.path for problem in report.problems] == ["Kitti"]
    assert "expected Kitti/train/DRIVE/proj_depth/groundtruth/image_02/*.png" in report.problems[0].reason
