"""The averaged weights are the warm average by hand, BatchNorm's statistics included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from safetrip_trainer.cli import main
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.training.ema import WarmEMA

CONFIG = Path(__file__).parents[3] / "configs" / "demo.yaml"


class _Steps(L.LightningModule):
    """A weight and a running mean that move by a known way at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.seen: list[tuple[float, float]] = []

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        self.mean += 2.0
        self.count += 1
        return -self.weight.sum()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen.append((float(self.weight.detach()), float(self.mean)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_the_average_is_the_warm_one_by_hand() -> None:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    task = _Steps()
    trainer = L.Trainer(accelerator="cpu", max_steps=5, callbacks=[WarmEMA(0.25)], **quiet)
    trainer.fit(task, torch.utils.data.DataLoader(torch.zeros(5, 1)))
    assert [weight for weight, _ in task.seen] == [1.0, 2.0, 3.0, 4.0, 5.0]
    # The first update takes the weights as they are; then 2/11, 3/12 and, held, 0.25 of the average stay.
    weight, mean = task.seen[0]
    for decay, (new_weight, new_mean) in zip((2 / 11, 0.25, 0.25, 0.25), task.seen[1:]):
        weight = decay * weight + (1 - decay) * new_weight
        mean = decay * mean + (1 - decay) * new_mean
    assert float(task.weight.detach()) == pytest.approx(weight)
    assert float(task.mean) == pytest.approx(mean)
    assert int(task.count) == 5


class Seen(L.Callback):
    """What a callback of the user's sees of one weight: after each step, and when a validation ends."""

    steps: ClassVar[list[Tensor]] = []
    validated: ClassVar[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append(pl_module.net.encoder.features[0][0].weight.detach().clone())

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated.append(pl_module.net.encoder.features[0][0].weight.detach().clone())


def test_other_callbacks_see_the_average_when_a_validation_ends(
    prepared: PreparedIndex, tmp_path: Path
) -> None:
    words = f"""fit --config {CONFIG} --data.root {prepared.prepared} --data.size [32,64] --data.batch_size 2
        --data.num_workers 0 --out {tmp_path} --model.init_args.width_mult 0.35 --trainer.fast_dev_run 2
        --model.init_args.decoder_channels 16 --ema 0.9 --trainer.callbacks {__name__}.Seen"""
    Seen.steps, Seen.validated = [], []
    assert main(words.split()) == 0
    (first, second), (validated,) = Seen.steps, Seen.validated
    assert not torch.equal(first, second)
    torch.testing.assert_close(validated, 2 / 11 * first + 9 / 11 * second)
