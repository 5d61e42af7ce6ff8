"""The exported graph against torch, on frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from safetrip_calibration.runners import onnx_session
from safetrip_trainer.errors import ExportError
from safetrip_trainer.export.graph import DeployGraph

__all__ = ["ExportCheck", "ExportLimits", "verify_export"]

_DIVERGED = (
    "the weights are damaged, or the training diverged; take an earlier checkpoint; nothing was written"
)


@dataclass(frozen=True)
class ExportLimits:
    """What an exported graph must hold: the least share of pixels with the same label, and the largest
    relative difference of depth at any pixel and in the mean of all.
    """

    label_agreement: float = 0.999
    depth_error: float = 1e-3
    mean_depth_error: float = 1e-3


@dataclass(frozen=True)
class ExportCheck:
    """How close the exported graph came to torch."""

    frames: int
    label_agreement: float
    """Share of all pixels with the same label."""
    depth_error: float
    """Largest relative difference of depth at any pixel."""
    mean_depth_error: float
    """Mean relative difference of depth."""


def verify_export(
    graph: DeployGraph,
    model: onnx.ModelProto,
    frames: Iterable[np.ndarray],
    limits: ExportLimits | None = None,
) -> ExportCheck:
    """Runs both on the same frames.

    Args:
        graph: the torch module that was exported.
        model: its ONNX.
        frames: (H, W, 3) uint8 BGR each.
        limits: how far they may differ; by default as far as arithmetic in another order lets them.

    Raises:
        ExportError: they differ by more, weights or depth are not finite, or there are no frames.
    """
    _require_finite_weights(graph)
    session = onnx_session(model.SerializeToString())
    agree, pixels, worst, errors = 0, 0, 0.0, []
    for frame in frames:
        labels, depth, _ = session.run(None, {"frame": frame[None]})
        with torch.inference_mode():
            expected_labels, expected_depth, _ = graph(torch.from_numpy(np.ascontiguousarray(frame[None])))
        reference = expected_depth.numpy()
        _require_finite(torch=reference, onnx=depth)
        agree += int((labels == expected_labels.numpy()).sum())
        pixels += labels.size
        error = np.abs(depth - reference) / np.maximum(reference, 1e-3)
        worst = max(worst, float(error.max()))
        errors.append(float(error.mean()))
    if not errors:
        raise ExportError("no frame to check the exported graph on")
    check = ExportCheck(len(errors), agree / pixels, worst, float(np.mean(errors)))
    _require_within(check, limits or ExportLimits())
    return check


def _require_finite_weights(graph: DeployGraph) -> None:
    """Labels alone do not tell: the argmax of NaN is a class like any other."""
    for name, tensor in graph.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ExportError(f"{name} is not finite: {_DIVERGED}")


def _require_finite(**depths: np.ndarray) -> None:
    for name, depth in depths.items():
        count = int(np.count_nonzero(~np.isfinite(depth)))
        if count:
            where = f"at {count} of {depth.size} pixels of a frame"
            raise ExportError(f"depth in {name} is not finite {where}: {_DIVERGED}")


def _require_within(check: ExportCheck, limits: ExportLimits) -> None:
    if (
        check.label_agreement >= limits.label_agreement
        and check.depth_error <= limits.depth_error
        and check.mean_depth_error <= limits.mean_depth_error
    ):
        return
    raise ExportError(
        f"the exported graph differs from torch on {check.frames} frames: labels agree on "
        f"{check.label_agreement:.4%} (at least {limits.label_agreement:.1%}), depth differs by up to "
        f"{check.depth_error:.2e} (at most {limits.depth_error:.0e}), in the mean by "
        f"{check.mean_depth_error:.2e} (at most {limits.mean_depth_error:.0e}); nothing was written"
    )
