"""One way to ask a checkpoint or a bundle what a frame shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.model.load import load_student

__all__ = ["FramePrediction", "Predictor", "open_predictor", "training_size"]

DEFAULT_SIZE = (512, 512)


class FramePrediction(NamedTuple):
    """What one frame shows, at the net's input size."""

    labels: np.ndarray
    """(h, w) uint8 class ids."""
    depth: np.ndarray
    """(h, w) float32 metres."""


class Predictor(Protocol):
    """(H, W, 3) uint8 BGR to a prediction."""

    def __call__(self, frame: np.ndarray) -> FramePrediction: ...


class TorchPredictor:
    """The deploy graph in torch, on a GPU where there is one.

    Args:
        graph: the module that export writes, too.
    """

    def __init__(self, graph: DeployGraph) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.graph = graph.to(self.device, memory_format=torch.channels_last)

    def __call__(self, frame: np.ndarray) -> FramePrediction:
        with torch.inference_mode():
            labels, depth, _ = self.graph(torch.from_numpy(np.ascontiguousarray(frame[None])).to(self.device))
        return FramePrediction(labels[0].cpu().numpy(), depth[0].cpu().numpy())


def training_size(record: dict[str, object]) -> tuple[int, int]:
    """The (h, w) a checkpoint was trained at; 512x512 where it does not say."""
    data = record.get("datamodule_hyper_parameters")
    size = data.get("size") if isinstance(data, dict) else None
    return (int(size[0]), int(size[1])) if size else DEFAULT_SIZE


@contextmanager
def open_predictor(
    source: str | Path,
    size: tuple[int, int] | None = None,
    backend: str = "auto",
    precision: str = "auto",
) -> Iterator[Predictor]:
    """A bundle (a folder: through the SDK's Runtime) or a student's checkpoint (a file: through torch).

    Args:
        source: what to open.
        size: (h, w) of the net's input, for a checkpoint; the size it was trained at by default.
        backend: for a bundle, as `Runtime` takes it.
        precision: for a bundle, as `Runtime` takes it.

    Raises:
        SafetripError: it cannot be opened; the message says why.
    """
    if Path(source).is_dir():
        from safetrip_sdk import Runtime

        with Runtime(source, backend=backend, precision=precision) as runtime:

            def predict(frame: np.ndarray) -> FramePrediction:
                prediction = runtime(frame)
                return FramePrediction(prediction.labels, prediction.depth)

            yield predict
    else:
        net, record = load_student(source)
        yield TorchPredictor(DeployGraph(net, size or training_size(record)))
