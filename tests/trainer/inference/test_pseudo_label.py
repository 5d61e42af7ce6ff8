"""Which samples a teacher labels: all that have depth and no annotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Fabric
from torch import nn

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.inference.pseudo_label import PseudoLabelOptions, TeacherFile, pseudo_label
from safetrip_trainer.model.preprocess import normalize
from tests.trainer.data.small_tree import HEIGHT, WIDTH, write_tree
from tests.trainer.data.test_kitti import DRIVES, write_drive

QUIET = PrepareOptions(workers=1, progress=False, cache_size=None)


TEACHER = TeacherFile("teacher.ckpt", "ab" * 32)


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
    report = pseudo_label(Teacher(), TEACHER, index, options, fabric)
    bare = [sample for sample in index.samples if sample.mask is None]
    assert {sample.source for sample in bare} == {"depth", "kitti"}
    assert (report.written, report.confident_share) == (len(bare), 1.0)
    for sample in bare:
        labels, _ = index.load_pseudo(sample) or (None, None)
        assert labels is not None
        assert (labels == 5).all()
    assert pseudo_label(Teacher(), TEACHER, index, options, fabric).kept == len(bare)


def test_labels_of_two_teachers_are_not_mixed(tmp_path: Path) -> None:
    index = prepare(write_tree(tmp_path / "tree", folders=2), tmp_path / "out", QUIET).index
    fabric, options = Fabric(accelerator="cpu", devices=1), PseudoLabelOptions(size=(32, 32))
    assert index.pseudo_teacher() is None
    count = pseudo_label(Teacher(), TEACHER, index, options, fabric).written
    made = {"teacher": "teacher.ckpt", "teacher_sha256": "ab" * 32, "input_size": [32, 32], "flip": False}
    assert index.pseudo_teacher() == made
    other = replace(TEACHER, sha256="cd" * 32)
    with pytest.raises(DatasetError, match=r"of another teacher_sha256; .* --overwrite"):
        pseudo_label(Teacher(), other, index, options, fabric)
    with pytest.raises(DatasetError, match="of another input_size and flip"):
        pseudo_label(Teacher(), TEACHER, index, PseudoLabelOptions((16, 32), flip=True), fabric)
    assert index.pseudo_teacher() == made
    again = replace(options, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        pseudo_label(Interrupted(), other, index, again, fabric)
    # What the first teacher said is gone: the call goes on without --overwrite.
    report = pseudo_label(Teacher(), other, index, options, fabric)
    assert (report.written, report.kept) == (count - 1, 1)
    module = SafetripDataModule(str(index.prepared), num_workers=0)
    module.setup("fit")
    assert module.pseudo_labels_by == other.sha256
    index.pseudo_record.write_text("[]")
    with pytest.raises(DatasetError, match=r"teacher.json: damaged; run 'trainer pseudo-label --overwrite'"):
        module.setup("fit")
    # Of an earlier version, which did not say whose they were.
    index.pseudo_record.unlink()
    with pytest.raises(DatasetError, match="of another teacher_sha256"):
        pseudo_label(Teacher(), other, index, options, fabric)


class Interrupted(Teacher):
    """After its first image."""

    done = False

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.done:
            raise KeyboardInterrupt
        self.done = True
        return super().forward(image)


def test_a_set_of_annotations_alone_leaves_nothing_to_label(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", folders=1)
    (tree / "Depth").rename(tmp_path / "elsewhere")
    index = prepare(tree, tmp_path / "out", QUIET).index
    with pytest.raises(DatasetError, match="nothing to label"):
        pseudo_label(Teacher(), TEACHER, index, PseudoLabelOptions(), Fabric(accelerator="cpu", devices=1))


def test_what_has_labels_is_known_before_reading(tmp_path: Path) -> None:
    index = prepare(write_tree(tmp_path / "tree", folders=1), tmp_path / "out", QUIET).index
    frames = PreparedFrames(index, "all")
    assert frames.labelled == [frames[place].labels is not None for place in range(len(frames))]
    assert set(frames.labelled) == {True, False}


class Looking(nn.Module):
    """Class 1 where it is red, class 2 where it is blue, class 3 towards the right, whatever it sees."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(image), 24, *image.shape[-2:]), -20.0)
        logits[:, 1], logits[:, 2] = image[:, 0], image[:, 2]
        logits[:, 3] = torch.linspace(-2, 2, image.shape[-1])
        return logits


def test_labels_are_of_the_image_and_of_its_mirror_turned_back(tmp_path: Path) -> None:
    index = prepare(write_tree(tmp_path / "tree", folders=1), tmp_path / "out", QUIET).index
    sample = next(sample for sample in index.samples if sample.source == "depth")
    bgr = index.load_image(sample)
    rgb = torch.from_numpy(bgr[..., ::-1].transpose(2, 0, 1).copy())[None].float()
    image, fabric = normalize(rgb), Fabric(accelerator="cpu", devices=1)
    plain = Looking()(image).softmax(1)
    mirrored = Looking()(image.flip(-1)).softmax(1).flip(-1)
    wanted = {False: plain, True: (plain + mirrored) / 2}
    for flip, chances in wanted.items():
        options = PseudoLabelOptions((HEIGHT, WIDTH), flip, threshold=0.5, overwrite=True)
        report = pseudo_label(Looking(), TEACHER, index, options, fabric)
        assert (report.written, report.kept) == (2, 0)
        labels, confidence = index.load_pseudo(sample) or (None, None)
        expected, sure = chances.max(1).indices[0].numpy(), chances.amax(1)[0].numpy() * 255
        assert labels is not None
        assert (labels == expected).mean() > 0.999
        assert len(np.unique(labels)) == 3
        np.testing.assert_allclose(confidence, sure, atol=1)
    # Of both images' pixels, and of the threshold asked for.
    shares = [float((plane > 0.5 * 255).mean()) for plane in _confidences(index)]
    assert report.confident_share == pytest.approx(np.mean(shares))
    annotated = [sample for sample in index.samples if sample.mask is not None]
    assert not any(index.load_pseudo(sample) for sample in annotated)


def _confidences(index: PreparedIndex) -> Iterator[np.ndarray]:
    for sample in index.samples:
        if sample.source == "depth":
            _, confidence = index.load_pseudo(sample) or (None, None)
            assert confidence is not None
            yield confidence
