"""FP32 in ONNX Runtime on the CPU: what engines on the GPU are held to, made once and kept in a file.

The file may be made on another machine and carried to one that has no ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_report import Answer, CheckError, Figures
from safetrip_sdk import Bundle, Prediction
from safetrip_sdk.atomic import open_atomic

__all__ = ["Frames", "agreement", "check_reference", "faults_of", "load_reference", "pictures"]

Frames = list[NDArray[np.uint8]]
Reference = tuple[NDArray[np.uint8], NDArray[np.float32]]

MIN_LABELS_EQUAL = 0.995
MAX_DEPTH_ERROR = 0.01
"""FP16 in ONNX Runtime is within 0.0013 on the pictures below; TensorRT computes FP32 in TF32, no finer."""
HELD = ("fp32", "fp16")
"""What INT8 may lose is the budget's to say (`trainer compare`, `trainer budget`)."""


def pictures(size: tuple[int, int], count: int = 4) -> Frames:
    """Coarse patches with a little noise; noise alone would leave a net undecided everywhere."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (-(-size[0] // 40), -(-size[1] // 40), 3))
        patches = coarse.repeat(40, 0).repeat(40, 1)[: size[0], : size[1]]
        made.append(np.clip(patches + generator.integers(-8, 9, patches.shape), 0, 255).astype(np.uint8))
    return made


def check_reference(bundle: str, file: str, size: tuple[int, int], answer: Answer) -> None:
    """Make the file, or see whether the one that is there is this bundle's."""
    if Path(file).exists():
        load_reference(bundle, file, size)
        answer.add(found=True)
        return
    try:
        import onnxruntime
    except ImportError as error:
        said = "pip install onnxruntime, or make it on another machine with --reference FILE, and carry it"
        answer.add(status="skipped", answer=f"{error}; {said}")
        return
    opened = Bundle.open(bundle)
    if "fp32" not in opened.manifest.precisions:
        answer.add(status="skipped", answer=f"{bundle} has no fp32 to be the reference")
        return
    model = opened.read(opened.manifest.precisions["fp32"].file)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = opened.manifest.input.name
    outputs = [session.run(["labels", "depth"], {name: frame[None]}) for frame in pictures(size)]
    labels, depth = (np.concatenate(arrays) for arrays in zip(*outputs))
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(file) as stream:
        np.savez_compressed(stream, labels=labels, depth=depth, of=fingerprint(opened, size))
    answer.add(found=False, onnxruntime=onnxruntime.__version__)


def fingerprint(bundle: Bundle, size: tuple[int, int]) -> str:
    """Names the FP32 model and the pictures that it saw."""
    model = bundle.manifest.precisions["fp32"].file
    seen = hashlib.sha256(b"".join(picture.tobytes() for picture in pictures(size)))
    return f"{bundle.manifest.files[model].sha256} {seen.hexdigest()}"


def load_reference(bundle: str, file: str, size: tuple[int, int]) -> Reference:
    """Labels (N, h, w) and depth (N, h, w) of the pictures; CheckError for another model's, or none's."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            of, labels, depth = str(arrays["of"]), arrays["labels"], arrays["depth"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckError(f"{file}: cannot be read as a reference: {error}") from error
    if of != fingerprint(Bundle.open(bundle), size):
        raise CheckError(f"{file}: the reference of another model or of other pictures; delete it")
    return labels, depth


def agreement(reference: Reference, predictions: list[Prediction]) -> Figures:
    """The least share of equal labels of a picture, and the largest median relative error of its depth."""
    equal, errors = [], []
    for labels, depth, found in zip(*reference, predictions):
        equal.append((found.labels == labels).mean())
        errors.append(np.median(np.abs(found.depth - depth) / np.maximum(depth, 1e-3)))
    # Not Python's: these keep NaN.
    return {"labels_equal": float(np.min(equal)), "depth_error": float(np.max(errors))}


def faults_of(precision: str, figures: Figures) -> list[str]:
    """In what FP32 or FP16 is too far from the reference."""
    if precision not in HELD:
        return []
    found = []
    equal, error = figures["labels_equal"], figures["depth_error"]
    if not equal >= MIN_LABELS_EQUAL:
        found.append(f"labels_equal {equal}, want {MIN_LABELS_EQUAL}")
    if not error <= MAX_DEPTH_ERROR:
        found.append(f"depth_error {error}, want at most {MAX_DEPTH_ERROR}")
    return found
