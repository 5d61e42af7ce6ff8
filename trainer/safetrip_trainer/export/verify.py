"""The exported graph against torch, on frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from safetrip_trainer.errors import ExportError
from safetrip_trainer.export.graph import DeployGraph

__all__ = ["ExportCheck", "verify_export"]

MIN_LABEL_AGREEMENT = 0.999
MAX_DEPTH_ERROR = 1e-3


@dataclass(frozen=True)
class ExportCheck:
    """How close the exported graph came to torch."""

    frames: int
    label_agreement: float
    """Share of all pixels with the same label."""
    depth_error: float
    """Largest relative difference of depth at any pixel."""


def verify_export(
    graph: DeployGraph,
    model: onnx.ModelProto,
    frames: Iterable[np.ndarray],
    min_label_agreement: float = MIN_LABEL_AGREEMENT,
    max_depth_error: float = MAX_DEPTH_ERROR,
) -> ExportCheck:
    """Runs both on the same frames.

    Args:
        graph: the torch module that was exported.
        model: its ONNX.
        frames: (H, W, 3) uint8 BGR each.
        min_label_agreement: share of all pixels that must have the same label.
        max_depth_error: relative, at any pixel.

    Raises:
        ExportError: they differ by more, or there are no frames.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    count, agree, pixels, worst = 0, 0, 0, 0.0
    for frame in frames:
        labels, depth, _ = session.run(None, {"frame": frame[None]})
        with torch.inference_mode():
            expected_labels, expected_depth, _ = graph(torch.from_numpy(np.ascontiguousarray(frame[None])))
        reference = expected_depth.numpy()
        agree += int((labels == expected_labels.numpy()).sum())
        pixels += labels.size
        worst = max(worst, float((np.abs(depth - reference) / np.maximum(reference, 1e-3)).max()))
        count += 1
    if count == 0:
        raise ExportError("no frame to check the exported graph on")
    check = ExportCheck(count, agree / pixels, worst)
    if check.label_agreement < min_label_agreement or not worst <= max_depth_error:
        raise ExportError(
            f"the exported graph differs from torch on {count} frames: labels agree on "
            f"{check.label_agreement:.4%} (at least {min_label_agreement:.1%}), depth differs by up to "
            f"{worst:.2e} (at most {max_depth_error:.0e}); nothing was written"
        )
    return check
