"""The student's loss is what its settings say, and its score the mean of what the data can tell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.losses import (
    DepthGradientLoss,
    FocalCrossEntropy,
    HardPixelCrossEntropy,
    InverseHuberLoss,
    ScaleInvariantLoss,
    SoftTargetLoss,
)
from safetrip_trainer.model.checkpoint import load_checkpoint, write_safetensors
from safetrip_trainer.model.hydranet import MAX_DEPTH, MIN_DEPTH
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.options import DepthOptions, DistillOptions, SegmentationOptions
from safetrip_trainer.training.random_state import random_state


def _task(**settings: Any) -> HydraTask:
    torch.manual_seed(0)
    # BatchNorm with fixed statistics: the same answer to the same batch.
    return HydraTask(width_mult=0.35, decoder_channels=16, init_weights="random", **settings).eval()


def _batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 24, (2, 32, 64), generator=generator)
    depth = torch.rand((2, 32, 64), generator=generator) * 60 + 1
    return {"image": torch.randn(2, 3, 32, 64, generator=generator), "labels": labels, "depth": depth}


@pytest.mark.parametrize(("head", "lowest"), [("sigmoid", None), ("log", MIN_DEPTH)])
def test_depth_is_judged_by_the_terms_asked_for(head: Any, lowest: float | None) -> None:
    options = DepthOptions(head, silog_weight=0.3, silog_share=0.9, gradient_weight=0.2)
    task, batch = _task(depth=options, berhu_threshold=0.02), _batch()
    output = task(batch["image"])
    expected = (
        InverseHuberLoss(0.02, MAX_DEPTH, lowest)(output.depth, batch["depth"]).value
        + 0.3 * ScaleInvariantLoss(0.9, MAX_DEPTH)(output.depth, batch["depth"]).value
        + 0.2 * DepthGradientLoss(max_depth=MAX_DEPTH)(output.depth, batch["depth"]).value
    )
    torch.testing.assert_close(task.task_losses(output, batch)["depth"].value, expected)


def test_the_share_of_hard_pixels_is_the_one_asked_for() -> None:
    # Untrained, no pixel is easy by probability: with a share of 1 all of them would count anyway.
    task, batch = _task(segmentation=SegmentationOptions("ohem", ohem_keep=0.1)), _batch()
    task.segmentation_loss.easy_nll = 1e9
    strict = HardPixelCrossEntropy(24, keep=0.1)
    strict.easy_nll = 1e9
    output = task(batch["image"])
    torch.testing.assert_close(
        task.task_losses(output, batch)["segmentation"].value, strict(output.logits, batch["labels"]).value
    )


def test_the_focus_on_hard_pixels_is_the_one_asked_for() -> None:
    task, batch = _task(segmentation=SegmentationOptions("focal", focal_gamma=5.0)), _batch()
    output = task(batch["image"])
    torch.testing.assert_close(
        task.task_losses(output, batch)["segmentation"].value,
        FocalCrossEntropy(24, gamma=5.0)(output.logits, batch["labels"]).value,
    )


def test_tasks_and_teacher_are_weighed_as_asked(tmp_path: Path) -> None:
    teacher = _task()
    # Far from the student: to the second order T^2 takes the temperature out.
    torch.nn.init.normal_(teacher.net.segmentation.out.weight, std=30.0)
    file = tmp_path / "teacher.safetensors"
    write_safetensors(file, teacher.net.state_dict(), {"hyper_parameters": dict(teacher.hparams)})
    distill = DistillOptions(str(file), temperature=3.0, weight=0.7)
    weights = {"segmentation_weight": 0.9, "depth_weight": 0.2}
    task, batch = HydraTask.from_settings(_task(distill=distill, **weights).hparams).eval(), _batch()
    losses = task.losses(batch)
    with torch.no_grad():
        targets = teacher.net(batch["image"]).logits
    expected = SoftTargetLoss(3.0)(task(batch["image"]).logits, targets).value
    torch.testing.assert_close(losses["distillation"], expected)
    total = 0.9 * losses["segmentation"] + 0.2 * losses["depth"] + 0.7 * losses["distillation"]
    torch.testing.assert_close(losses["total"], total)


def test_a_validation_counts_its_own_frames_and_scores_both_tasks(prepared: PreparedIndex) -> None:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = L.Trainer(accelerator="cpu", use_distributed_sampler=False, **quiet)
    task = _task()
    data = SafetripDataModule(str(prepared.prepared), size=(32, 64), num_workers=0)
    (found,) = trainer.validate(task, data, verbose=False)
    assert found["val/miou"] != found["val/delta1"]
    assert found["val/score"] == pytest.approx((found["val/miou"] + found["val/delta1"]) / 2)
    # The next one starts from nothing.
    assert float(task.depth_metrics.valid) == 0
    assert float(task.segmentation_metrics.confmat.sum()) == 0
    # The loss weighs classes as they were counted.
    weights = torch.from_numpy(prepared.class_weights)
    assert len(weights.unique()) > 2
    assert torch.equal(task.segmentation_loss.class_weights, weights)


def test_a_run_that_goes_on_does_not_need_the_weights_it_began_with(
    prepared: PreparedIndex, tmp_path: Path
) -> None:
    began, last = tmp_path / "began.safetensors", tmp_path / "last.ckpt"
    write_safetensors(began, _task().net.state_dict(), {})
    data = SafetripDataModule(str(prepared.prepared), size=(32, 64), batch_size=4, num_workers=0)

    def fit(steps: int, **options: Any) -> L.Trainer:
        quiet: dict[str, Any] = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        trainer = L.Trainer(
            accelerator="cpu", max_steps=steps, limit_val_batches=0, use_distributed_sampler=False, **quiet
        )
        trainer.fit(HydraTask(0.35, 16, init_weights=str(began)), data, **options)
        return trainer

    fit(1).save_checkpoint(last)
    start = load_checkpoint(last)["provenance"]["start"]
    assert "began.safetensors" in start
    began.unlink()
    with pytest.raises(CheckpointError, match="began"):
        fit(1)
    resumed = fit(2, ckpt_path=last)
    assert resumed.global_step == 2
    resumed.save_checkpoint(last)
    assert load_checkpoint(last)["provenance"]["start"] == start


def test_a_run_that_goes_on_with_other_data_says_so_and_keeps_both_hashes(
    prepared: PreparedIndex, caplog: pytest.LogCaptureFixture
) -> None:
    data = SafetripDataModule(str(prepared.prepared), size=(32, 64), num_workers=0)
    index = data.index
    task = _task()
    task._trainer = SimpleNamespace(datamodule=data, global_step=3)  # type: ignore[assignment]
    task.on_load_checkpoint({"provenance": {"data_hash": index.data_hash, "start": "a file"}})
    task.on_fit_start()
    assert not caplog.records
    task.on_load_checkpoint({"provenance": {"data_hash": "b" * 64, "data_hash_before": "a" * 64}})
    task.on_fit_start()
    assert "has changed since the checkpoint was written" in caplog.text
    checkpoint: dict[str, Any] = {}
    task.on_save_checkpoint(checkpoint)
    said = checkpoint["provenance"]
    assert said["data_hash"] == index.data_hash
    assert said["data_hash_before"].split() == ["a" * 64, "b" * 64]


def test_random_numbers_go_on_where_the_checkpoint_was_written() -> None:
    """A student draws none; a teacher's dropout does."""
    task = _task()
    checkpoint = {"random_state": random_state(task.device)}
    expected = torch.rand(6)
    task.on_load_checkpoint(checkpoint)
    torch.rand(5)  # what Lightning draws meanwhile
    drawn = []
    for index in range(2):
        task.on_train_batch_start(None, index)
        drawn.append(torch.rand(3))
    assert torch.equal(torch.cat(drawn), expected)
