"""Reading weights from files, without pickle's code execution, and foreign key names turned into ours."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from safetrip_sdk.atomic import write_bytes
from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.model.key_names import our_name

__all__ = [
    "KeyReport",
    "WeightsFile",
    "load_checkpoint",
    "load_weights",
    "net_tensors",
    "read_weights",
    "refusal",
    "translate_keys",
    "write_safetensors",
]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A torch checkpoint as a dictionary, loaded with `weights_only=True`.

    Raises:
        CheckpointError: missing, truncated, or holding objects that only pickle could make.
    """
    if not path.is_file():
        what = "is a folder, no checkpoint (.ckpt, .safetensors)" if path.is_dir() else "no such checkpoint"
        raise CheckpointError(f"{path}: {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's opinion of pickle protocols, for a file refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises zip, pickle, runtime and EOF errors for broken files
        raise CheckpointError(f"{path}: {refusal(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


_OBJECT = re.compile(r"GLOBAL ([\w.]+)")  # in torch's message


def refusal(error: Exception) -> str:
    """Why `torch.load(weights_only=True)` refused a file; torch itself advises to run what is in it."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    named = _OBJECT.search(str(error))
    if named is not None:
        return (
            f"holds {named[1]}, an object that would run code when loaded, so it is not; whoever trusts the "
            "file saves its tensors alone (state_dict) and gives that"
        )
    return "no torch checkpoint, or cut short or damaged"


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights, read once."""

    path: Path
    state: dict[str, Tensor]
    """Tensors by name."""
    record: dict[str, Any]
    """What the file says of itself: the keys of `RECORD` that it has."""

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters of the model; empty where the file does not say."""
        return self.record.get("hyper_parameters") or {}


RECORD = ("hyper_parameters", "datamodule_hyper_parameters", "epoch", "global_step", "config", "provenance")
"""What a checkpoint says of its training besides the tensors."""

_METADATA = "safetrip"
_NET = "net."


def read_weights(path: Path) -> WeightsFile:
    """A safetensors file or a torch checkpoint (its `state_dict` where it has one).

    Raises:
        CheckpointError: the file is missing, broken, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = load_checkpoint(path)
    # Whose file it is decides what it calls these: "model" may as well be a name.
    inner = (content.get("state_dict"), content.get("model"), content)
    state = next(item for item in inner if isinstance(item, Mapping))
    tensors = {
        key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors by name")
    return WeightsFile(path, tensors, _record({key: content[key] for key in RECORD if key in content}))


def _record(content: dict[str, Any]) -> dict[str, Any]:
    """Without hyper-parameters that are of another kind than ours."""
    odd = not isinstance(content.get("hyper_parameters", {}), dict)
    return {key: value for key, value in content.items() if not (odd and key == "hyper_parameters")}


def _read_safetensors(path: Path) -> WeightsFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            content = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error
    return WeightsFile(path, tensors, _record(content if isinstance(content, dict) else {}))


def net_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The net's tensors of a training checkpoint, without the losses' and under the net's own names."""
    return {key.removeprefix(_NET): value for key, value in state.items() if key.startswith(_NET)}


def write_safetensors(path: Path, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Tensors and what is known of them, for others: `read_weights` and any safetensors reader take it.

    Raises:
        CheckpointError: the file cannot be written; what stood there still does.
    """
    from safetensors.torch import save

    # safetensors takes each tensor's own, dense memory only.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    metadata = {"format": "pt", _METADATA: json.dumps(record, default=str)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors, metadata))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error


@dataclass(frozen=True)
class KeyReport:
    """How a foreign state dictionary maps onto a model."""

    matched: dict[str, str]
    """Foreign key by our key."""
    missing: list[str]
    """Our keys that nothing matched."""
    unexpected: list[str]
    """Foreign keys that match nothing of ours, or in another shape."""


def translate_keys(state: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], KeyReport]:
    """Foreign key names (`module.`, `model.`, torchvision's, the public Hydranet's) to the model's own.

    Returns:
        The tensors that fit by name and shape, under our names, and what matched and what did not.
    """
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    matched: dict[str, str] = {}
    unexpected: list[str] = []
    for key, value in state.items():
        name = our_name(key, own)
        if name in own and own[name].shape == value.shape and name not in found:
            found[name] = value
            matched[name] = key
        else:
            unexpected.append(key)
    return found, KeyReport(matched, [key for key in own if key not in found], unexpected)


def load_weights(model: nn.Module, file: WeightsFile) -> None:
    """Loads a file's weights into the model, all of them or none.

    Raises:
        CheckpointError: the file's keys do not cover the model; names the first that is missing.
    """
    found, report = translate_keys(file.state, model)
    missing = [key for key in report.missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(
            f"{file.path}: {len(missing)} of {len(model.state_dict())} tensors are missing or of another "
            f"shape (first: {missing[0]}); `trainer fix-checkpoint` shows what matches"
        )
    model.load_state_dict(found, strict=False)
