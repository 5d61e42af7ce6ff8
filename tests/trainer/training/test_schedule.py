"""The learning rate rises for as many epochs as asked, whatever ends the run."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.schedule import warmup_cosine


class _Factors(Callback):
    """The learning rate's factor at every step that is planned; the run ends after its first."""

    values: np.ndarray

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        factor = trainer.lr_scheduler_configs[0].scheduler.lr_lambdas[0]
        self.values = np.array([factor(step) for step in range(100)])
        trainer.should_stop = True


def _plan(index: PreparedIndex, **options: Any) -> np.ndarray:
    task = HydraTask(width_mult=0.35, decoder_channels=16, init_weights="random", warmup_epochs=2)
    data = SafetripDataModule(str(index.prepared), size=(32, 32), batch_size=2, num_workers=0)
    factors = _Factors()
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    L.Trainer(
        accelerator="cpu", callbacks=[factors], limit_val_batches=0, use_distributed_sampler=False,
        limit_train_batches=6, **quiet, **options,
    ).fit(task, data)  # fmt: skip
    return factors.values


@pytest.mark.parametrize(
    ("options", "warm", "end"),
    [
        ({"max_epochs": 10}, 12, 60),
        ({"max_steps": 30}, 12, 30),
        ({"max_epochs": 100, "max_steps": 30}, 12, 30),
        ({"max_epochs": 10, "accumulate_grad_batches": 4}, 4, 20),
        ({"max_epochs": 3}, 9, 18),  # at most half the run
    ],
)
def test_the_warm_up_takes_its_epochs(
    options: dict[str, int], warm: int, end: int, prepared: PreparedIndex
) -> None:
    factors = _plan(prepared, **options)
    np.testing.assert_allclose(factors[:warm], np.arange(1, warm + 1) / warm)
    assert factors[end - 1] > 0.01
    np.testing.assert_allclose(factors[end:], 0.01)


def test_a_run_without_an_end_is_refused(prepared: PreparedIndex) -> None:
    with pytest.raises(TrainerError, match="max_epochs or"):
        _plan(prepared, max_epochs=-1)


def test_the_cosine_is_half_way_at_half_the_time() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    factor = warmup_cosine(optimizer, steps=110, warmup_steps=10).lr_lambdas[0]
    assert factor(60) == pytest.approx((1 + 0.01) / 2)
