"""A teacher's labels for the samples that have depth only."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning import Fabric
from torch import nn
from tqdm import tqdm

from safetrip_trainer.data.files import write_atomic, write_json
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.model.preprocess import normalize, resize

__all__ = ["PseudoLabelOptions", "PseudoLabelReport", "TeacherFile", "pseudo_label"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabelOptions:
    """How a teacher labels."""

    size: tuple[int, int] = (512, 512)
    """(h, w) at which it runs."""
    flip: bool = False
    """Mean of its probabilities on the image and on the mirrored image: twice the time, steadier labels."""
    threshold: float = 0.7
    """Only reported; the student's `pseudo_confidence` decides."""
    overwrite: bool = False
    """Label again what is labelled (after training the teacher on)."""


@dataclass(frozen=True)
class TeacherFile:
    """Whose labels they are."""

    name: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> TeacherFile:
        """The file at `path`; OSError where it cannot be read."""
        return cls(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class PseudoLabelReport:
    """What was written, by all processes together."""

    written: int
    kept: int
    """Samples that an earlier, interrupted call had labelled."""
    confident_share: float
    """Share of the newly labelled pixels above the threshold that the student uses."""


def pseudo_label(
    teacher: nn.Module,
    origin: TeacherFile,
    index: PreparedIndex,
    options: PseudoLabelOptions,
    fabric: Fabric,
) -> PseudoLabelReport:
    """Writes labels and confidence (8-bit PNG, 255 = certain) of every sample with depth and no mask.

    Interrupted, it goes on where it stopped: a sample's labels count as done when both files are there. Of
    several processes each takes every n-th sample. Whose labels they are stands beside them: for the runs
    that are trained on them, and so that no two teachers' are mixed.

    Args:
        teacher: (N, 3, h, w), normalised, to logits; in evaluation mode.
        origin: the file that it is from.
        index: the prepared set; files go to its `pseudo/`.
        options: how.
        fabric: launched; says which process this is and where it computes.

    Raises:
        DatasetError: no sample has depth only, an image cannot be read, or there are labels of another
            teacher, or of this one at another size.
    """
    samples = [sample for sample in index.samples if sample.mask is None and sample.depth_file is not None]
    if not samples:
        raise DatasetError(f"{index.prepared}: no sample with depth only, there is nothing to label")
    device, rank = fabric.device, fabric.global_rank
    made = {"teacher_sha256": origin.sha256, "input_size": list(options.size), "flip": options.flip}
    if not options.overwrite:
        _require_of_one_teacher(index, samples, made)
    fabric.barrier()
    if rank == 0:
        if options.overwrite:  # gone first, so that a call that is interrupted goes on without it
            _remove_labels(index, samples)
        write_json(index.pseudo_record, {"teacher": origin.name, **made})
    fabric.barrier()
    teacher = teacher.to(device)
    written = kept = confident = pixels = 0
    own = samples[rank :: fabric.world_size]
    for sample in tqdm(own, desc="pseudo-label", unit="image", disable=rank > 0):
        if index.load_pseudo(sample) is not None:
            kept += 1
            continue
        labels, confidence = _label(teacher, index.load_image(sample), options, device)
        _write(index, sample, labels, confidence)
        written += 1
        confident += int((confidence > options.threshold * 255).sum())
        pixels += confidence.size
    counts = torch.tensor([written, kept, confident, pixels], dtype=torch.int64, device=device)
    total = fabric.all_reduce(counts, reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    written, kept, confident, pixels = total.tolist()
    return PseudoLabelReport(written, kept, confident / pixels if pixels else 0.0)


def _require_of_one_teacher(index: PreparedIndex, samples: list[Sample], made: dict[str, object]) -> None:
    if not any(path.exists() for sample in samples for path in index.pseudo_paths(sample)):
        return
    before = index.pseudo_teacher() or {}
    others = [name for name, value in made.items() if before.get(name) != value]
    if others:
        raise DatasetError(
            f"{index.pseudo_record.parent}: holds labels of another {' and '.join(others)}; label all "
            "again with --overwrite"
        )


def _remove_labels(index: PreparedIndex, samples: list[Sample]) -> None:
    for sample in samples:
        for path in index.pseudo_paths(sample):
            path.unlink(missing_ok=True)


def _label(
    teacher: nn.Module, frame: np.ndarray, options: PseudoLabelOptions, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 BGR to labels and confidence, (h, w) uint8 each."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1))).to(device)
    with torch.inference_mode():
        image = normalize(resize(rgb[None].float(), options.size))
        probabilities = F.softmax(resize(teacher(image).float(), options.size), dim=1)
        if options.flip:
            mirrored = resize(teacher(image.flip(-1)).float(), options.size).flip(-1)
            probabilities = (probabilities + F.softmax(mirrored, dim=1)) / 2
        confidence, labels = probabilities.max(dim=1)
    return labels[0].byte().cpu().numpy(), (confidence[0] * 255).round().byte().cpu().numpy()


def _write(index: PreparedIndex, sample: Sample, labels: np.ndarray, confidence: np.ndarray) -> None:
    for path, plane in zip(index.pseudo_paths(sample), (labels, confidence)):
        write_atomic(path, encode_png(plane))
