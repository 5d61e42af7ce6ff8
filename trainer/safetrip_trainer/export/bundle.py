"""A checkpoint becomes a bundle: exported, checked on frames, written as one piece."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from safetrip_sdk import __version__
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.manifest import InputSpec, Manifest, PrecisionInfo
from safetrip_trainer.classes import class_infos
from safetrip_trainer.errors import ExportError
from safetrip_trainer.export.graph import DeployGraph
from safetrip_trainer.export.onnx_file import to_onnx
from safetrip_trainer.export.verify import ExportCheck, verify_export
from safetrip_trainer.model.hydranet import MAX_DEPTH, HydraNet
from safetrip_trainer.model.preprocess import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["export_bundle", "new_manifest", "require_exportable"]

_STRIDE = 32


def require_exportable(size: tuple[int, int]) -> None:
    """ExportError for an (h, w) that a bundle cannot have."""
    if any(side <= 0 or side % _STRIDE for side in size):
        raise ExportError(f"input size {size[0]}x{size[1]}: height and width must be multiples of {_STRIDE}")


def export_bundle(
    net: HydraNet,
    size: tuple[int, int],
    out: Path,
    frames: Iterable[np.ndarray],
    training: dict[str, Any],
    overwrite: bool = False,
) -> ExportCheck:
    """Writes a bundle with the FP32 deploy graph.

    Args:
        net: the trained net.
        size: (h, w) of its input; multiples of 32.
        out: the bundle's folder.
        frames: (H, W, 3) uint8 BGR, on which the ONNX must agree with torch.
        training: where the weights come from, for the manifest.
        overwrite: replace a bundle that is there.

    Raises:
        ExportError: the size does not fit the net, or the exported graph differs from torch.
    """
    require_exportable(size)
    graph = DeployGraph(net.cpu(), size).eval()
    model = to_onnx(graph)
    check = verify_export(graph, model, frames)
    manifest = new_manifest(out, size, training, check)
    with Bundle.create(out, manifest, overwrite=overwrite) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString(deterministic=True))
    return check


def new_manifest(out: Path, size: tuple[int, int], training: dict[str, Any], check: ExportCheck) -> Manifest:
    """The manifest of a bundle that holds FP32 alone, which agrees with torch as `check` says."""
    agreement = {
        "frames": check.frames,
        "label_agreement_with_torch": check.label_agreement,
        "depth_relative_error_to_torch": check.depth_error,
    }
    return Manifest(
        name=out.name.removesuffix(".bundle"),
        classes=class_infos(),
        input=InputSpec(height=size[0], width=size[1]),
        max_depth=MAX_DEPTH,
        preprocessing={
            "color": "BGR to RGB, in the graph",
            "resize": "bilinear, half-pixel centres, no antialias, in the graph",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        precisions={"fp32": PrecisionInfo("model.fp32.onnx", {"export": agreement}, accepted=True)},
        tools={
            "safetrip": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "onnx", "onnxslim")},
        },
        training=training,
    )
