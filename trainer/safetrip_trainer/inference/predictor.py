"""One way to ask a checkpoint or a bundle what a frame shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.prediction import Prediction, Timing
from safetrip_sdk.runtime import Runtime
from safetrip_trainer.classes import class_infos
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.model.load import load_student

__all__ = ["Predictor", "open_predictor", "training_size"]

DEFAULT_SIZE = (512, 512)


class Predictor(Protocol):
    """(H, W, 3) uint8 BGR to a prediction at the net's input size."""

    def __call__(self, frame: np.ndarray) -> Prediction: ...


class TorchPredictor:
    """The deploy graph in torch, on a GPU where there is one.

    Args:
        graph: the module that export writes, too.
        device: a GPU where there is one by default.
    """

    def __init__(self, graph: DeployGraph, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.graph = graph.to(self.device)
        self.graph.to(memory_format=torch.channels_last)
        self.frames = 0
        self.classes = ClassTable(class_infos())

    def __call__(self, frame: np.ndarray) -> Prediction:
        started = time.monotonic_ns()
        with torch.inference_mode():
            outputs = self.graph(torch.from_numpy(np.ascontiguousarray(frame[None])).to(self.device))
            labels, depth, confidence = (output[0].cpu().numpy() for output in outputs)
        elapsed = (time.monotonic_ns() - started) / 1e6
        self.frames += 1
        return Prediction(
            labels=labels,
            depth=depth,
            confidence=confidence,
            classes=self.classes,
            frame_id=self.frames - 1,
            captured_at=started,
            timing=Timing(wait=0.0, upload=0.0, compute=elapsed, download=0.0, total=elapsed),
        )


class RuntimePredictor:
    """The SDK's runtime, opened anew where the frames change size: an engine has one, a set may have several.

    Args:
        runtime: open; the caller closes it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.size: tuple[int, ...] | None = None

    def __call__(self, frame: np.ndarray) -> Prediction:
        size = (frame.shape[0], frame.shape[1])
        if self.size not in (None, size):
            self.runtime.reopen(frame_size=size)
        self.size = size
        return self.runtime(frame)


def training_size(record: dict[str, object]) -> tuple[int, int]:
    """The (h, w) a checkpoint was trained at; 512x512 where it does not say."""
    data = record.get("datamodule_hyper_parameters")
    size = data.get("size") if isinstance(data, dict) else None
    return (int(size[0]), int(size[1])) if size else DEFAULT_SIZE


def _require_fitting(source: Path, size: tuple[int, int] | None, backend: str, precision: str) -> None:
    """TrainerError for an option that would change nothing, and for a run's folder instead of its weights."""
    if not source.is_dir():
        if (backend, precision) != ("auto", "auto"):
            raise TrainerError(f"{source}: a checkpoint runs in torch; backend and precision are a bundle's")
    elif (source / "checkpoints").is_dir():
        raise TrainerError(f"{source}: is a run's folder; give its {source / 'checkpoints' / 'best.ckpt'}")
    elif size is not None:
        raise TrainerError(f"{source}: a bundle has one input size; export the checkpoint again for another")


@contextmanager
def open_predictor(
    source: str | Path,
    size: tuple[int, int] | None = None,
    backend: str = "auto",
    precision: str = "auto",
    device: torch.device | None = None,
) -> Iterator[Predictor]:
    """A bundle (a folder: through the SDK's Runtime) or a student's checkpoint (a file: through torch).

    Args:
        source: what to open.
        size: (h, w) of the net's input, for a checkpoint; the size it was trained at by default.
        backend: for a bundle, as `Runtime` takes it.
        precision: for a bundle, as `Runtime` takes it.
        device: for a checkpoint; a GPU where there is one by default.

    Raises:
        SafetripError: it cannot be opened; the message says why.
    """
    _require_fitting(Path(source), size, backend, precision)
    if Path(source).is_dir():
        with Runtime(source, backend=backend, precision=precision) as runtime:
            yield RuntimePredictor(runtime)
    else:
        net, record = load_student(source)
        yield TorchPredictor(DeployGraph(net, size or training_size(record)), device)
