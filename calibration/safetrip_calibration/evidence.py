"""What one wants to look at after a comparison: its worst frames as pictures, and inputs to replay.

`polygraphy run model.onnx --onnxrt --load-inputs inputs.json` runs a bundle's model on the very frames saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from polygraphy.json import save_json

from safetrip_calibration.accuracy import to_size
from safetrip_calibration.compare import Comparison
from safetrip_calibration.frames import IGNORE, FrameSet
from safetrip_calibration.runners import make_runner, quiet
from safetrip_sdk import atomic
from safetrip_sdk.bundle import Bundle

__all__ = ["save_inputs", "save_worst_frames"]

GAP = 4  # pixels between pictures
DEPTH_NEAR, DEPTH_FAR = 1.0, 80.0  # metres, ends of the logarithmic colour scale


def save_inputs(frames: FrameSet, indices: Sequence[int], path: Path, input_name: str = "frame") -> None:
    """Write frames as a polygraphy inputs file (JSON); a few frames, as all are held at once."""
    feeds = [{input_name: np.ascontiguousarray(frames[index].frame)[None]} for index in indices]
    temporary = atomic.sibling(path, ".tmp")
    try:
        save_json(feeds, str(temporary), "inputs")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_worst_frames(
    bundle_path: str | Path, frames: FrameSet, result: Comparison, folder: Path
) -> dict[str, Path]:
    """Draw each candidate's worst frame: the frame, truth, FP32 and the candidate side by side, depth below.

    Returns:
        "precision backend" -> the PNG written.
    """
    quiet()
    bundle = Bundle.open(bundle_path)
    folder.mkdir(parents=True, exist_ok=True)
    positions = {name: index for index, name in enumerate(frames.names)}
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(bundle.manifest.classes)] = [item.color[::-1] for item in bundle.manifest.classes]
    written = {}
    for item in result.candidates:
        frame = frames[positions[item.metrics["worst_frame"]["name"]]]
        feed = {bundle.manifest.input.name: np.ascontiguousarray(frame.frame)[None]}
        outputs = []
        for precision, backend in (("fp32", "onnxruntime"), (item.precision, item.backend)):
            with make_runner(bundle, precision, backend) as runner:
                outputs.append({name: value.copy() for name, value in runner.infer(feed).items()})
        size = outputs[0]["labels"].shape[1:]
        top = [to_size(frame.frame, size), *(_colours(output["labels"][0], palette) for output in outputs)]
        truth = np.full(size, IGNORE, np.uint8) if frame.labels is None else to_size(frame.labels, size)
        top.insert(1, _colours(truth, palette))
        depth = np.full(size, np.nan) if frame.depth is None else to_size(frame.depth, size)
        changed = (outputs[0]["labels"] != outputs[1]["labels"])[0]
        bottom = [_mask(changed), _metres(depth), *(_metres(output["depth"][0]) for output in outputs)]
        path = folder / f"worst-{item.precision}-{item.backend}.png"
        done, data = cv2.imencode(".png", np.vstack([_row(top), _row(bottom)]))
        assert done
        atomic.write_bytes(path, data.tobytes())
        written[f"{item.precision} {item.backend}"] = path
    return written


def _colours(labels: NDArray[np.generic], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return palette[labels.astype(np.uint8)]


def _metres(depth: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Near is bright, on a logarithmic scale; black where there is no depth."""
    metres = depth.astype(np.float64)
    known = np.isfinite(metres) & (metres > 0)
    scale = np.log(np.clip(np.where(known, metres, DEPTH_FAR), DEPTH_NEAR, DEPTH_FAR) / DEPTH_NEAR)
    near = (255 * (1 - scale / np.log(DEPTH_FAR / DEPTH_NEAR))).astype(np.uint8)
    coloured: NDArray[np.uint8] = cv2.applyColorMap(near, cv2.COLORMAP_TURBO).astype(np.uint8)
    coloured[~known] = 0
    return coloured


def _mask(changed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """White where the candidate's label differs from FP32's."""
    return np.repeat((changed * 255).astype(np.uint8)[..., None], 3, axis=2)


def _row(pictures: Sequence[NDArray[np.generic]]) -> NDArray[np.uint8]:
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture.astype(np.uint8), gap)]
    row: NDArray[np.uint8] = np.hstack(parts[:-1])
    return np.vstack([row, np.full((GAP, row.shape[1], 3), 255, np.uint8)])
