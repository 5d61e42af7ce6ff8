"""Samples become tensors with the labels they have, and none they have not."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from safetrip_trainer.data.augment import TrainingTransform, evaluation_transform
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.data.sampler import Draw
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import HEIGHT, WIDTH, write_tree

SIZE = (96, 160)


def _items(index: PreparedIndex, source: str, **options: object) -> list[dict[str, object]]:
    samples = [sample for sample in index.samples if sample.source == source]
    dataset = SafetripDataset(index, samples, evaluation_transform(SIZE), **options)
    return [dataset[position] for position in range(len(dataset))]


@pytest.mark.parametrize(("source", "classes"), [("surface", range(6)), ("polygon", range(6, 24))])
def test_annotated_images_have_their_kind_of_labels_and_no_depth(
    prepared: PreparedIndex, source: str, classes: range
) -> None:
    seen: set[int] = set()
    for item in _items(prepared, source):
        assert item["image"].shape == (3, *SIZE)
        assert item["labels"].dtype == torch.int64
        assert not item["depth"].any()
        seen |= set(item["labels"].unique().tolist())
    assert seen - {255} <= set(classes)
    assert len(seen - {255}) > 3


def test_stereo_images_have_depth_and_no_labels(prepared: PreparedIndex) -> None:
    for item in _items(prepared, "depth"):
        assert bool((item["labels"] == 255).all())
        depth = item["depth"]
        assert 0.05 < float((depth > 0).float().mean()) < 1
        assert bool(torch.isfinite(depth).all())
        assert float(depth.max()) < 300


def test_pseudo_labels_count_above_the_confidence_only(prepared: PreparedIndex) -> None:
    sample = next(sample for sample in prepared.samples if sample.source == "depth")
    labels, confidence = prepared.pseudo_paths(sample)
    labels.parent.mkdir(parents=True, exist_ok=True)
    half = np.full(SIZE, 178, dtype=np.uint8)
    half[:, 80:] = 179  # 0.7 of 255 is 178.5
    cv2.imwrite(str(labels), np.full(SIZE, 14, dtype=np.uint8))
    cv2.imwrite(str(confidence), half)
    try:
        dataset = SafetripDataset(prepared, [sample], evaluation_transform(SIZE), pseudo_confidence=0.7)
        item = dataset[0]["labels"]
        assert bool((item[:, :80] == 255).all())
        assert bool((item[:, 80:] == 14).all())
        off = SafetripDataset(prepared, [sample], evaluation_transform(SIZE), pseudo_confidence=None)
        assert bool((off[0]["labels"] == 255).all())
    finally:
        labels.unlink()
        confidence.unlink()


def test_what_somebody_annotated_comes_before_what_a_teacher_says(prepared: PreparedIndex) -> None:
    sample = next(sample for sample in prepared.samples if sample.source == "surface")
    before = SafetripDataset(prepared, [sample], evaluation_transform(SIZE))[0]["labels"]
    paths = prepared.pseudo_paths(sample)
    for path, value in zip(paths, (14, 255)):
        write_atomic(path, encode_png(np.full(SIZE, value, np.uint8)))
    try:
        after = SafetripDataset(prepared, [sample], evaluation_transform(SIZE))[0]["labels"]
    finally:
        for path in paths:
            path.unlink()
    assert torch.equal(before, after)


def test_frames_for_calibration_carry_the_same_truth(prepared: PreparedIndex) -> None:
    frames = PreparedFrames(prepared, "all", min_confidence=1)
    by_source = {item.source: item for item in (frames[position] for position in range(len(frames)))}
    assert set(by_source) == {"surface", "polygon", "depth"}
    assert by_source["surface"].depth is None
    assert by_source["depth"].labels is None
    assert by_source["polygon"].frame.dtype == np.uint8
    known, certain = (
        sum(
            int(np.isfinite(item.depth).sum())
            for item in PreparedFrames(prepared, "all", least)
            if item.depth is not None
        )
        for least in (1, 255)
    )
    assert 0 < certain < known
    assert PreparedFrames(prepared, "all").min_confidence == 255


def test_module_prepares_a_raw_tree_by_itself(scenes: Path, tmp_path: Path) -> None:
    data = SafetripDataModule(
        str(scenes), prepared=str(tmp_path / "out"), size=SIZE, batch_size=4, num_workers=0
    )
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, *SIZE)
    assert (tmp_path / "out").is_dir()


def test_what_a_raw_tree_has_by_now_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = write_tree(tmp_path / "tree", folders=2)
    (tree / "Surface/Surface_001/bad.jpg").write_bytes(b"known to be no image")
    next((tree / "Polygon").rglob("*.xml")).write_bytes(b"known to be no XML")
    next((tree / "Depth/Depth_001").glob("*_disp16.png")).write_bytes(b"known to be no disparity")

    def said() -> str:
        caplog.clear()
        SafetripDataModule(str(tree)).prepare_data()
        return caplog.text

    with caplog.at_level("WARNING"):
        assert said() == ""  # prepares
        assert said() == ""
        shutil.copytree(tree / "Surface/Surface_001", tree / "Surface/Surface_003")
        image = next((tree / "Depth/Depth_002").glob("*_L.png"))
        shutil.copy(image, image.with_name("later_L.png"))
        text = said()
    assert "(Surface/Surface_003, Depth/Depth_002)" in text
    assert f"`trainer prepare {tree} --out {tree}-prepared`" in text


def test_module_names_a_source_that_is_not_there(prepared: PreparedIndex) -> None:
    data = SafetripDataModule(str(prepared.prepared), ratios={"kitti": 1.0}, num_workers=0)
    with pytest.raises(DatasetError, match="no train sample of kitti"):
        data.setup("fit")


@pytest.mark.parametrize(("limit", "warns"), [(255, True), (160, False)])
def test_a_limit_that_leaves_no_depth_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int, warns: bool
) -> None:
    tree = write_tree(tmp_path / "tree", folders=2)
    for path in tree.rglob("*_confidence_save.png"):
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 160, np.uint8))
    prepare(tree, tmp_path / "out", PrepareOptions(workers=1, progress=False, cache_size=None))
    module = SafetripDataModule(str(tmp_path / "out"), size=(32, 32), val_min_confidence=limit)
    with caplog.at_level("WARNING"):
        module.setup("fit")
    said = [message for message in caplog.messages if "data.val_min_confidence 255" in message]
    assert bool(said) == warns
    assert not [message for message in caplog.messages if "data.min_confidence" in message]


def test_each_position_of_a_batch_has_its_own_chance(prepared: PreparedIndex) -> None:
    sample = prepared.split("train")[0]
    data = SafetripDataset(prepared, [sample], TrainingTransform(SIZE))
    one, again, other = (data[Draw(0, (3, 1, position))]["image"] for position in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
