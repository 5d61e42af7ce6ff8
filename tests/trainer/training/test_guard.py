"""A gradient that is no number stops the run, too, with what is needed to compute the step again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.model.checkpoint import read_weights, write_safetensors
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.guard import BATCH, RNG, WEIGHTS, NonFiniteGuard
from safetrip_trainer.training.random_state import random_state
from safetrip_trainer.training.replay import replay


class _Root(L.LightningModule):
    """Its loss is a square root: 0 at 0, where the slope is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.states: list[Tensor] = []

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        self.states.append(torch.get_rng_state())
        return (self.weight * batch["image"]).abs().sqrt().sum() + 0 * torch.rand(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_an_infinite_gradient_of_a_finite_loss_stops_before_the_weights(tmp_path: Path) -> None:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    batches = [{"image": torch.full((1,), value), "name": [f"sample {value:g}"]} for value in (1.0, 4.0, 0.0)]
    task = _Root()
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, callbacks=[NonFiniteGuard(tmp_path)], **quiet)
    with pytest.raises(TrainerError, match=r"step 2 .*the gradient is (nan|inf).*sample 0"):
        trainer.fit(task, torch.utils.data.DataLoader(batches, batch_size=None))
    assert bool(torch.isfinite(task.weight).all())
    state = read_weights(tmp_path / "nonfinite-step-2.safetensors").state
    assert float(state[f"{BATCH}image"]) == 0.0
    assert torch.equal(state[f"{WEIGHTS}weight"], task.weight.detach())
    # The random numbers that this very step drew.
    assert torch.equal(state[f"{RNG}cpu"], task.states[2])


def test_replay_finds_gradients_where_every_loss_is_finite(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = HydraTask(width_mult=0.35, decoder_channels=16, init_weights="random", balance="uncertainty")
    state = task.state_dict()
    # Logits of the usual size, as a product of which one factor's gradient is beyond float32.
    state["net.segmentation.pre.weight"] *= 1e-36
    state["net.segmentation.out.weight"] *= 1e36
    state["balance.log_variance.segmentation"] -= 30.0
    batch = {
        "image": torch.randn(2, 3, 64, 64),
        "labels": torch.randint(0, 24, (2, 64, 64)),
        "depth": torch.ones(2, 64, 64),
    }
    tensors = {f"{BATCH}{key}": value for key, value in batch.items()}
    tensors |= {f"{WEIGHTS}{key}": value for key, value in state.items()}
    tensors |= {f"{RNG}{key}": value for key, value in random_state(task.device).items()}
    record = {
        "class": "HydraTask", "hyper_parameters": dict(task.hparams), "names": ["a", "b"],
        "seed": "0", "epoch": 0, "step": 3, "precision": "32-true",
    }  # fmt: skip
    write_safetensors(tmp_path / "step.safetensors", tensors, record)
    found = replay(tmp_path / "step.safetensors")
    assert found.first_layer is None
    assert "net.segmentation.pre.weight" in found.bad_gradients
    assert "net.depth.pre.weight" not in found.bad_gradients
    # Computed as in training, BatchNorm's statistics those of the batch.
    mean = replay(tmp_path / "step.safetensors").losses["depth"]
    assert mean == pytest.approx(_training_loss(task, batch), rel=1e-5)


def _training_loss(task: HydraTask, batch: dict[str, Tensor]) -> float:
    return float(task.train().losses(batch)["depth"].detach())
