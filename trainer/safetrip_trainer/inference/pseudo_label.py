"""A teacher's labels for the samples that have depth only."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.model.preprocess import normalize, resize
from safetrip_trainer.model.teacher import SegformerTeacher

__all__ = ["PseudoLabelReport", "pseudo_label"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabelReport:
    """What was written."""

    written: int
    kept: int
    """Samples that an earlier, interrupted call had labelled."""
    confident_share: float
    """Share of the newly labelled pixels above the threshold that the student uses."""


def pseudo_label(
    teacher: SegformerTeacher,
    index: PreparedIndex,
    size: tuple[int, int],
    threshold: float = 0.7,
    overwrite: bool = False,
) -> PseudoLabelReport:
    """Writes labels and confidence (8-bit PNG, 255 = certain) of every sample with depth and no mask.

    Interrupted, it goes on where it stopped: a sample's labels count as done when both files are there.

    Args:
        teacher: in evaluation mode.
        index: the prepared set; files go to its `pseudo/`.
        size: (h, w) at which the teacher runs.
        threshold: only reported; the student's `pseudo_confidence` decides.
        overwrite: label again what is labelled (after training the teacher on).

    Raises:
        DatasetError: no sample has depth only, or an image cannot be read.
    """
    samples = [sample for sample in index.samples if sample.mask is None and sample.source == "depth"]
    if not samples:
        raise DatasetError(f"{index.prepared}: no sample with depth only, there is nothing to label")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = teacher.to(device)
    written, kept, confident, pixels = 0, 0, 0, 0
    for sample in tqdm(samples, desc="pseudo-label", unit="image"):
        if not overwrite and index.load_pseudo(sample) is not None:
            kept += 1
            continue
        labels, confidence = _label(teacher, index.load_image(sample), size, device)
        _write(index, sample, labels, confidence)
        written += 1
        confident += int((confidence > threshold * 255).sum())
        pixels += confidence.size
    return PseudoLabelReport(written, kept, confident / pixels if pixels else 0.0)


def _label(
    teacher: SegformerTeacher, frame: np.ndarray, size: tuple[int, int], device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 BGR to labels and confidence, (h, w) uint8 each."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1))).to(device)
    with torch.inference_mode():
        logits = teacher(normalize(resize(rgb[None].float(), size)))
        probabilities = F.softmax(resize(logits.float(), size), dim=1)
        confidence, labels = probabilities.max(dim=1)
    return labels[0].byte().cpu().numpy(), (confidence[0] * 255).round().byte().cpu().numpy()


def _write(index: PreparedIndex, sample: Sample, labels: np.ndarray, confidence: np.ndarray) -> None:
    for path, plane in zip(index.pseudo_paths(sample), (labels, confidence)):
        write_atomic(path, encode_png(plane))
