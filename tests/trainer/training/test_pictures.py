"""Pictures of predictions are drawn of what validation reads, and never end a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import lightning as L
import pytest

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.pictures import PredictionPictures


def _pictures(root: Path, out: Path, every: int = 1, epochs: int = 1) -> list[Path]:
    """What the validation behind the first of so many epochs draws."""
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
        max_epochs=epochs, callbacks=[PredictionPictures(out, every)],
    )  # fmt: skip
    task = HydraTask(width_mult=0.35, decoder_channels=16, init_weights="random")
    trainer.validate(task, SafetripDataModule(str(root), size=(32, 64), num_workers=0), verbose=False)
    return sorted(out.rglob("*.png"))


def test_they_need_the_cache_alone(prepared: PreparedIndex, tmp_path: Path) -> None:
    shutil.copytree(prepared.prepared, tmp_path / "cache", ignore=shutil.ignore_patterns("masks"))
    pictures = _pictures(tmp_path / "cache", tmp_path / "out")
    assert [item.name for item in pictures] == [
        item.name for item in _pictures(prepared.prepared, tmp_path / "tree")
    ]
    assert len(pictures) == 4
    for path in pictures:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.std() > 5


def test_a_frame_that_cannot_be_read_is_left_out(
    prepared: PreparedIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(prepared.prepared, tmp_path / "prepared")
    last = prepared.split("val")[-1]
    assert last.mask is not None
    (tmp_path / "prepared" / last.mask).write_bytes(b"damaged")
    pictures = _pictures(tmp_path / "prepared", tmp_path / "out")
    assert len(pictures) == 3
    assert last.id.replace("/", "__") not in {item.stem for item in pictures}
    assert any(last.mask in message and message.endswith("not drawn") for message in caplog.messages)


def test_the_last_epoch_is_drawn_whatever_its_number(prepared: PreparedIndex, tmp_path: Path) -> None:
    assert _pictures(prepared.prepared, tmp_path / "first", every=5, epochs=2) == []
    assert len(_pictures(prepared.prepared, tmp_path / "last", every=5, epochs=1)) == 4
