"""Computes a saved step again and says where it first is no number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.checkpoint import WeightsFile, read_weights
from safetrip_trainer.training.guard import BATCH, BUFFERS, RNG, WEIGHTS
from safetrip_trainer.training.random_state import set_random_state
from safetrip_trainer.training.student import HydraTask
from safetrip_trainer.training.task import Task
from safetrip_trainer.training.teacher import TeacherTask

__all__ = ["Replay", "replay"]


@dataclass
class Replay:
    """What was found, in the order in which a step computes."""

    step: int
    epoch: int
    seed: str | None
    names: list[str]
    """Of the batch's images, below `root`."""
    root: str | None = None
    bad_inputs: dict[str, list[str]] = field(default_factory=dict)
    """Kind of tensor in the batch -> names of the samples in which it holds NaN or infinity."""
    bad_weights: list[str] = field(default_factory=list)
    """Parameters and buffers that do."""
    first_layer: str | None = None
    """The first layer whose output does although its input does not."""
    losses: dict[str, float] = field(default_factory=dict)
    bad_gradients: list[str] = field(default_factory=list)
    """Parameters whose gradient does, where every loss is finite."""

    @property
    def lines(self) -> list[str]:
        """For people."""
        place = f" (in {self.root})" if self.root else ""
        lines = [f"step {self.step}, epoch {self.epoch}, seed {self.seed}: {', '.join(self.names)}{place}"]
        lines += [f"{kind}: no number in {', '.join(names)}" for kind, names in self.bad_inputs.items()]
        lines += [f"weights: no number in {_some(self.bad_weights)}"] if self.bad_weights else []
        lines += [f"first layer: {self.first_layer}"] if self.first_layer else []
        lines += [f"loss {name}: {value:g}" for name, value in self.losses.items()]
        lines += [f"gradients: no number in {_some(self.bad_gradients)}"] if self.bad_gradients else []
        if not (self.bad_inputs or self.bad_weights or self.first_layer or self.bad_gradients) and all(
            value == value and abs(value) != float("inf") for value in self.losses.values()
        ):
            lines.append("every number is finite here: the fault is in what another machine or precision did")
        return lines


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _bad(value: Tensor) -> bool:
    return value.is_floating_point() and not bool(torch.isfinite(value).all())


def replay(path: Path) -> Replay:
    """Computes the step that `NonFiniteGuard` saved.

    Args:
        path: its safetensors file.

    Raises:
        CheckpointError: the file is missing, broken, or no saved step.
    """
    file = read_weights(path)
    record = file.record
    if not {"class", "names", "step"} <= set(record):
        raise CheckpointError(
            f"{path}: is no step that `trainer fit` saved (RUN/nonfinite-step-N.safetensors)"
        )
    task = _rebuild(file)
    found = Replay(record["step"], record["epoch"], record["seed"], record["names"], record.get("root"))
    batch: dict[str, Any] = {**_part(file, BATCH), "name": record["names"]}
    for kind, value in batch.items():
        if isinstance(value, Tensor) and _bad(value):
            found.bad_inputs[kind] = [name for name, item in zip(record["names"], value) if _bad(item)]
    state = {**dict(task.named_parameters()), **dict(task.named_buffers())}
    found.bad_weights = [name for name, value in state.items() if _bad(value)]
    with _watch(task, found), _autocast(record["precision"], task.device):
        losses = task.losses(batch)
    found.losses = {name: float(value.detach()) for name, value in losses.items()}
    if bool(torch.isfinite(losses["total"])):
        torch.autograd.backward(losses["total"])
        pairs = task.named_parameters()
        found.bad_gradients = [name for name, item in pairs if item.grad is not None and _bad(item.grad)]
    return found


def _part(file: WeightsFile, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in file.state.items() if key.startswith(prefix)}


def _rebuild(file: WeightsFile) -> Task:
    """The task with the step's weights, in training mode, and the step's random state."""
    kinds: dict[str, type[HydraTask] | type[TeacherTask]] = {
        kind.__name__: kind for kind in (HydraTask, TeacherTask)
    }
    task: Task = kinds[file.record["class"]].from_settings(file.settings)
    try:
        task.load_state_dict(_part(file, WEIGHTS))
    except RuntimeError as error:
        raise CheckpointError(f"{file.path}: {str(error).splitlines()[0]}") from error
    buffers = dict(task.named_buffers())
    for name, value in _part(file, BUFFERS).items():
        buffers[name].copy_(value)
    set_random_state(_part(file, RNG), task.device)
    return task.train()


@contextmanager
def _autocast(precision: str, device: torch.device) -> Iterator[None]:
    kinds = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
    dtype = kinds.get(precision)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield


@contextmanager
def _watch(task: nn.Module, found: Replay) -> Iterator[None]:
    """Notes the first layer that makes a NaN or infinity of finite input."""

    def note(name: str, layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if found.first_layer is None and isinstance(output, Tensor) and _bad(output):
            from_input = any(isinstance(value, Tensor) and _bad(value) for value in given)
            origin = ", already in its input" if from_input else ""
            found.first_layer = f"{name} ({type(layer).__name__}){origin}"

    handles = [
        layer.register_forward_hook(lambda m, given, output, name=name: note(name, m, given, output))
        for name, layer in task.named_modules()
        if not list(layer.children()) and name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
