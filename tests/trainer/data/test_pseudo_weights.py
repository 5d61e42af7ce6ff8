"""A teacher's confidence on its way to the loss: the same geometry as the labels it belongs to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from safetrip_trainer.data.augment import TrainingTransform
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.loader import collate
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.model.hydranet import HydraOutput
from safetrip_trainer.training import HydraTask


def test_confidence_keeps_to_its_labels_through_every_window() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 24, (60, 80), dtype=np.uint8)
    # Each class has a confidence of its own, so that a pixel's tells its label.
    planes = Planes(np.zeros((60, 80, 3), np.uint8), labels, None, labels * 10)
    transform = TrainingTransform((32, 48), zoom=(1.0, 3.0), flip=0.5)
    for seed in range(20):
        given = transform(planes, np.random.default_rng(seed))
        assert given.confidence is not None
        torch.testing.assert_close(given.confidence * 25.5, given.labels.float(), atol=1e-4, rtol=0)


def test_pseudo_labels_weigh_by_confidence_and_annotated_pixels_in_full(prepared: PreparedIndex) -> None:
    depth = next(item for item in prepared.samples if item.source == "depth")
    surface = next(item for item in prepared.samples if item.source == "surface")
    shape = (depth.height, depth.width)
    confidence = np.full(shape, 204, np.uint8)
    confidence[:, : shape[1] // 2] = 51
    paths = prepared.pseudo_paths(depth)
    for path, plane in zip(paths, (np.full(shape, 2, np.uint8), confidence)):
        write_atomic(path, encode_png(plane))
    try:
        transform = TrainingTransform((64, 96), zoom=(1.0, 1.0), jitter=0.0, flip=0.0)
        data = SafetripDataset(prepared, [depth, surface], transform, 1, 0.1, pseudo_weighted=True)
        batch = collate([data[0], data[1]])
    finally:
        for path in paths:
            path.unlink()
    assert batch["confidence"][0].unique().tolist() == pytest.approx([0.2, 0.8])
    assert float(batch["confidence"][1].min()) == 1.0
    # The loss takes them: less sure of everything is no change, less sure of the teacher's pixels is.
    torch.manual_seed(0)
    task = HydraTask(width_mult=0.35, decoder_channels=32, init_weights="random")
    output = HydraOutput(torch.randn(2, 24, 16, 24), torch.rand(2, 1, 16, 24))

    def loss(confidence: torch.Tensor) -> float:
        return float(task.task_losses(output, {**batch, "confidence": confidence})["segmentation"].value)

    assert loss(batch["confidence"] / 2) == pytest.approx(loss(batch["confidence"]))
    assert loss(torch.ones_like(batch["confidence"])) != pytest.approx(loss(batch["confidence"]), rel=1e-3)
    assert "confidence" not in SafetripDataset(prepared, [surface], transform)[0]
    # An image that cannot be read belongs to the same batch.
    lost = replace(surface, image="absent.jpg")
    data = SafetripDataset(prepared, [lost], transform, 1, 0.1, pseudo_weighted=True, unreadable="blank")
    assert {"image", "labels", "depth", "confidence"} <= set(data[0])
