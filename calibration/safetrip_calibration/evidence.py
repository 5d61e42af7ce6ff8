"""What one wants to look at after a comparison: its worst frames as pictures, and inputs to replay.

`polygraphy run model.onnx --onnxrt --load-inputs inputs.json` runs a bundle's model on the very frames saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from polygraphy.json import to_json

from safetrip_calibration.accuracy import to_size
from safetrip_calibration.comparison import Candidate, Comparison
from safetrip_calibration.frames import IGNORE, FrameSet, LabelledFrame
from safetrip_calibration.runners import make_runner, quiet
from safetrip_calibration.scoring import Outputs
from safetrip_calibration.sheet import Tile, sheet
from safetrip_sdk import atomic
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.manifest import Manifest
from safetrip_sdk.overlay import depth_colors

__all__ = ["save_inputs", "save_worst_frames"]

_METRES = (1, 3, 10, 30)  # whose colours are explained


def save_inputs(frames: FrameSet, indices: Sequence[int], path: Path, input_name: str = "frame") -> None:
    """Write frames as a polygraphy inputs file (JSON); a few frames, as all are held at once."""
    feeds = [{input_name: np.ascontiguousarray(frames[index].frame)[None]} for index in indices]
    atomic.write_text(path, to_json(feeds))


def save_worst_frames(
    bundle_path: str | Path, frames: FrameSet, result: Comparison, folder: Path
) -> dict[str, Path]:
    """Draw each candidate's worst frame: the frame, truth, FP32 and the candidate side by side, depth below.

    Returns:
        "precision backend" -> the PNG written.

    Raises:
        BundleChangedError: the bundle no longer holds the models that were compared.
    """
    quiet()
    bundle = Bundle.open(bundle_path)
    result.models.check(bundle.manifest)
    folder.mkdir(parents=True, exist_ok=True)
    positions = {name: index for index, name in enumerate(frames.names)}
    written = {}
    for item in result.candidates:
        frame = frames[positions[item.metrics["worst_frame"]["name"]]]
        feed = {bundle.manifest.input.name: np.ascontiguousarray(frame.frame)[None]}
        outputs = []
        for precision, backend in (("fp32", "onnxruntime"), (item.precision, item.backend)):
            with make_runner(bundle, precision, backend) as runner:
                outputs.append({name: value[0].copy() for name, value in runner.infer(feed).items()})
        path = folder / f"worst-{item.precision}-{item.backend}.png"
        done, data = cv2.imencode(".png", _draw(bundle.manifest, item, frame, outputs[0], outputs[1]))
        assert done
        atomic.write_bytes(path, data.tobytes())
        written[f"{item.precision} {item.backend}"] = path
    return written


def _draw(
    manifest: Manifest, item: Candidate, frame: LabelledFrame, reference: Outputs, candidate: Outputs
) -> NDArray[np.uint8]:
    """One sheet; `reference` and `candidate` are labels and depth, (h, w) each."""
    size = reference["labels"].shape
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(manifest.classes)] = [entry.color[::-1] for entry in manifest.classes]
    changed = reference["labels"] != candidate["labels"]
    truth = np.full(size, IGNORE, np.uint8) if frame.labels is None else to_size(frame.labels, size)
    metres = np.full(size, np.nan) if frame.depth is None else to_size(frame.depth, size)
    name = f"{item.precision} {item.backend}"
    rows = (
        (
            Tile(frame.name, to_size(frame.frame, size).astype(np.uint8)),
            Tile("truth (black: not labelled)" if frame.labels is not None else "no labels", palette[truth]),
            Tile("labels, fp32 onnxruntime", palette[reference["labels"]]),
            Tile(f"labels, {name}", palette[candidate["labels"]]),
        ),
        (
            Tile(f"white: another label than fp32's ({changed.mean():.1%})", _mask(changed)),
            Tile("true depth (black: none)" if frame.depth is not None else "no depth", _metres(metres)),
            Tile("depth, fp32 onnxruntime", _metres(reference["depth"])),
            Tile(f"depth, {name}", _metres(candidate["depth"])),
        ),
    )
    shown = np.unique(np.concatenate([truth, reference["labels"], candidate["labels"]]))
    return sheet(rows, [*_class_keys(manifest, shown), *_depth_keys()])


def _class_keys(manifest: Manifest, shown: NDArray[np.generic]) -> list[tuple[str, tuple[int, int, int]]]:
    return [(entry.name, entry.color[::-1]) for index, entry in enumerate(manifest.classes) if index in shown]


def _depth_keys() -> list[tuple[str, tuple[int, int, int]]]:
    colours = depth_colors(np.array([_METRES], np.float32))[0].tolist()
    return [(f"{metres} m", (b, g, r)) for metres, (b, g, r) in zip(_METRES, colours)]


def _metres(depth: NDArray[np.generic]) -> NDArray[np.uint8]:
    """In the overlay's colours; black where there is no depth."""
    metres = np.nan_to_num(depth.astype(np.float32), nan=0.0)
    coloured = depth_colors(metres)
    coloured[metres <= 0] = 0
    return coloured


def _mask(changed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """White where the candidate's label differs from FP32's."""
    return np.repeat((changed * 255).astype(np.uint8)[..., None], 3, axis=2)
