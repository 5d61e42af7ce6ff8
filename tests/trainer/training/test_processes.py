"""Two processes do what one does: the same losses and gradients, the same table, each file once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from safetrip_trainer.cli import main
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.model.checkpoint import read_weights, write_safetensors
from safetrip_trainer.training import HydraTask
from safetrip_trainer.training.options import DepthOptions


class _Total(nn.Module):
    """A training step as DDP wraps it."""

    def __init__(self, task: HydraTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.task.losses(batch)["total"]


def _step() -> _Total:
    torch.manual_seed(0)
    options = DepthOptions(silog_weight=0.5, gradient_weight=0.5)
    task = HydraTask(width_mult=0.35, decoder_channels=32, init_weights="random", depth=options)
    # BatchNorm with fixed statistics: on GPUs sync_batchnorm makes them the global batch's, which torch does
    # not offer on CPUs.
    task.eval()
    return _Total(task)


def _batch() -> dict[str, torch.Tensor]:
    """Four images whose labels lie unevenly: most classes in the first two, most depth in the others."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.full((4, 64, 64), 255)
    labels[0] = torch.randint(0, 24, (64, 64), generator=generator)
    labels[1, :8] = 3
    labels[2, :4] = 5
    depth = torch.zeros(4, 64, 64)
    depth[0, :8] = 30
    depth[3] = torch.rand((64, 64), generator=generator) * 60 + 1
    return {"image": torch.randn(4, 3, 64, 64, generator=generator), "labels": labels, "depth": depth}


def _process(rank: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = DistributedDataParallel(_step())
    own = slice(2 * rank, 2 * rank + 2)
    loss = model({key: value[own] for key, value in _batch().items()})
    loss.backward()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    if rank == 0:
        gradients = {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}
        write_safetensors(Path(folder) / "two.safetensors", {"loss": mean / 2, **gradients}, {})
    dist.destroy_process_group()


def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    mp.spawn(_process, args=(str(tmp_path),), nprocs=2)
    two = read_weights(tmp_path / "two.safetensors").state
    model = _step()
    loss = model(_batch())
    loss.backward()
    torch.testing.assert_close(two["loss"], loss.detach(), rtol=1e-5, atol=1e-6)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == two.keys() - {"loss"}
    for name, gradient in gradients.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def _two(words: list[str]) -> None:
    command = [sys.executable, "-m", "safetrip_trainer", *words]
    command += ["--devices", "2", "--accelerator", "cpu", "--strategy", "ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights in a file: what is compared does not depend on what they say."""
    torch.manual_seed(0)
    task = HydraTask(width_mult=0.35, decoder_channels=32, init_weights="random")
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    write_safetensors(path, task.net.state_dict(), {"hyper_parameters": dict(task.hparams)})
    return path


def test_evaluation_by_two_gives_the_table_of_one(
    student: Path, prepared: PreparedIndex, tmp_path: Path
) -> None:
    words = ["evaluate", str(student), str(prepared.prepared), "--split", "all", "--input-size", "64x96"]
    assert main([*words, "--json", str(tmp_path / "one.json"), "--overlays", str(tmp_path / "one")]) == 0
    _two([*words, "--json", str(tmp_path / "two.json"), "--overlays", str(tmp_path / "two")])
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two["segmentation"] == one["segmentation"]
    assert two["frames"] == one["frames"]
    assert two["depth"] == pytest.approx(one["depth"], rel=1e-6)
    pictures = [sorted(item.name for item in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 8


def test_two_label_each_file_once(student: Path, prepared: PreparedIndex, tmp_path: Path) -> None:
    words = ["pseudo-label", str(student), str(prepared.prepared), "--input-size", "64x96", "--flip"]
    depth = [sample for sample in prepared.samples if sample.source == "depth"]
    assert main([*words, "--overwrite", "--json", str(tmp_path / "one.json")]) == 0
    alone = {sample.id: prepared.load_pseudo(sample) for sample in depth}
    for sample in depth:
        for path in prepared.pseudo_paths(sample):
            path.unlink()
    _two([*words, "--json", str(tmp_path / "two.json")])
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two["written"] == one["written"] == len(depth)
    assert two["confident_share"] == pytest.approx(one["confident_share"], abs=1e-3)
    for sample in depth:
        labels, confidence = prepared.load_pseudo(sample)
        assert (labels == alone[sample.id][0]).mean() > 0.999
        assert abs(confidence.astype(int) - alone[sample.id][1]).max() <= 1
        for path in prepared.pseudo_paths(sample):
            path.unlink()
