"""Which samples a teacher labels: all that have depth and no annotation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Fabric
from torch import nn

from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.inference.pseudo_label import PseudoLabelOptions, pseudo_label
from tests.trainer.data.small_tree import write_tree
from tests.trainer.data.test_kitti import DRIVES, write_drive

QUIET = PrepareOptions(workers=1, progress=False, cache_size=None)


class Teacher(nn.Module):
    """Is sure of class 5."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(image), 24, 8, 8)
        logits[:, 5] = 9
        return logits


def test_kitti_is_labelled_like_the_walks(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", folders=1)
    write_drive(tree, DRIVES[0], f"train/{DRIVES[0]}")
    index = prepare(tree, tmp_path / "out", QUIET).index
    fabric = Fabric(accelerator="cpu", devices=1)
    options = PseudoLabelOptions(size=(32, 32))
    report = pseudo_label(Teacher(), index, options, fabric)
    bare = [sample for sample in index.samples if sample.mask is None]
    assert {sample.source for sample in bare} == {"depth", "kitti"}
    assert (report.written, report.confident_share) == (len(bare), 1.0)
    for sample in bare:
        labels, _ = index.load_pseudo(sample) or (None, None)
        assert labels is not None
        assert (labels == 5).all()
    assert pseudo_label(Teacher(), index, options, fabric).kept == len(bare)


def test_a_set_of_annotations_alone_leaves_nothing_to_label(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", folders=1)
    (tree / "Depth").rename(tmp_path / "elsewhere")
    index = prepare(tree, tmp_path / "out", QUIET).index
    with pytest.raises(DatasetError, match="nothing to label"):
        pseudo_label(Teacher(), index, PseudoLabelOptions(), Fabric(accelerator="cpu", devices=1))


def test_what_has_labels_is_known_before_reading(tmp_path: Path) -> None:
    index = prepare(write_tree(tmp_path / "tree", folders=1), tmp_path / "out", QUIET).index
    frames = PreparedFrames(index, "all")
    assert frames.labelled == [frames[place].labels is not None for place in range(len(frames))]
    assert set(frames.labelled) == {True, False}
