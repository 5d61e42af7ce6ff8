"""Figures of a candidate out of what was counted, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from safetrip_calibration.frames import LabelledFrame
from safetrip_calibration.scoring import Score, score_metrics
from tests.calibration.nets import make_manifest

FRAME = np.zeros((4, 10, 3), np.uint8)
TRUTH = np.zeros((4, 10), np.uint8)
TRUTH[1], TRUTH[2], TRUTH[3] = 1, 2, 255
TRUTH[0, 0] = 3  # one pixel in thirty
METRES = np.full((4, 10), 10.0, np.float32)


def _outputs(labels: np.ndarray, depth: float) -> dict[str, np.ndarray]:
    return {"labels": labels[None], "depth": np.full((1, 4, 10), depth, np.float32)}


def _changed(row: int, count: int, label: int) -> np.ndarray:
    labels = np.where(TRUTH == 255, 0, TRUTH)
    labels[row, 10 - count :] = label
    return labels


def test_the_figures_by_hand() -> None:
    manifest = make_manifest()
    names = manifest.class_names
    # FP32 has nearly all of class 1 wrong and is 10 % too far; the candidate has it right, but class 2 not.
    before = _outputs(_changed(1, 9, 0), 11.0)
    after = _outputs(_changed(2, 4, 1), 12.0)
    after["labels"][0, 0, 0] = 1
    reference, candidate = Score(manifest), Score(manifest)
    for name, item in (("good", before), ("bad", after), ("good again", before)):
        frame = LabelledFrame(name, FRAME, "surface", TRUTH, METRES)
        reference.update(frame, before, before)
        candidate.update(frame, item, before)
    metrics = score_metrics(candidate, reference, names, min_share=0.05)
    assert metrics["worst_frame"]["name"] == "bad"
    assert metrics["worst_frame"]["label_agreement"] == pytest.approx(1 - 14 / 40)
    assert metrics["worst_depth_frame"]["name"] == "bad"
    assert metrics["worst_depth_frame"]["depth_error_to_fp32"] == pytest.approx(1 / 11)
    # AbsRel 0.1, 0.2 and 0.1 against 0.1.
    assert metrics["depth_abs_rel_rise"] == pytest.approx(100 / 3)
    # The classes judged are those of 5 % of the pixels: class 3 has one pixel a frame, and lost most.
    changes = metrics["class_iou_change"]
    assert changes["class_3"] == min(changes.values()) < changes["class_2"] < 0 < changes["class_1"]
    # A gain, however large, is no loss.
    assert changes["class_1"] > -changes["class_2"]
    assert metrics["worst_class"] == "class_2"
    assert metrics["class_iou_drop"] == pytest.approx(-changes["class_2"])
    # Class 2 was whole; in one of three frames four of its ten pixels are lost.
    assert changes["class_2"] == pytest.approx(100 * (26 / 30 - 1))
    everything = score_metrics(candidate, reference, names, min_share=0.0)
    assert everything["worst_class"] == "class_3"
    assert metrics["miou_drop"] == pytest.approx(-sum(changes.values()) / 4)
