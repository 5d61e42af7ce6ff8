"""`evaluate` on frames that lack truth of a kind: no figure, no guess, no warning."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from safetrip_calibration.frames import LabelledFrame
from safetrip_sdk.prediction import Prediction
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.evaluate import evaluate
from safetrip_trainer.inference.table import accuracy_table
from tests.trainer.inference.test_infer import Brightness

LABELS = np.full((8, 12), 10, np.uint8)
DEPTH = np.full((8, 12), 27.5, np.float32)
ALL = ({"labels": LABELS, "depth": DEPTH}, {"labels": LABELS}, {"depth": DEPTH}, {})


class Frames:
    """Grey pictures, of which `Brightness` predicts class 10 at 27.5 m."""

    def __init__(self, *truths: dict[str, np.ndarray]) -> None:
        self._frames = [
            LabelledFrame(f"frame {index}", np.full((8, 12, 3), 110, np.uint8), **truth)
            for index, truth in enumerate(truths)
        ]
        self.names = [frame.name for frame in self._frames]
        self.sources = [frame.source for frame in self._frames]
        self.labelled = [frame.labels is not None for frame in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, position: int) -> LabelledFrame:
        return self._frames[position]


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("kind", "pixels"), [("labels", (96, 0)), ("depth", (0, 96))])
def test_truth_of_one_kind_alone(kind: str, pixels: tuple[int, int]) -> None:
    truth = {"labels": LABELS, "depth": DEPTH}[kind]
    result = evaluate(Brightness(), Frames({kind: truth}, {}))
    segmentation, depth = result["segmentation"], result["depth"]
    assert (segmentation["labelled_pixels"], depth["valid_pixels"]) == pixels
    assert (segmentation["miou"], segmentation["pixel_accuracy"]) == (
        (1.0, 1.0) if pixels[0] else (None,) * 2
    )
    figures = [depth[name] for name in ("rmse", "abs_rel", "delta1", "mean_depth_delta1")]
    assert figures == ([0.0, 0.0, 1.0, 1.0] if pixels[1] else [None] * 4)
    assert "NaN" not in json.dumps(result)
    assert "nan" not in accuracy_table(result)


def test_no_truth_at_all() -> None:
    result = evaluate(Brightness(), Frames({}))
    assert result["frames"] == 1
    assert result["segmentation"]["miou"] is None
    assert result["depth"]["rmse"] is result["depth"]["mean_depth_delta1"] is None


def test_frames_without_truth_change_no_figure() -> None:
    both = evaluate(Brightness(), Frames(*ALL))
    alone = evaluate(Brightness(), Frames(*ALL[:3]))
    assert both["segmentation"] == alone["segmentation"]
    assert both["depth"] == alone["depth"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("truth", ALL)
def test_depth_that_is_no_number_is_an_error_whatever_the_truth(
    truth: dict[str, np.ndarray], value: float
) -> None:
    def diverged(frame: np.ndarray) -> Prediction:
        prediction = Brightness()(frame)
        depth = np.array(prediction.depth)
        depth[2, 3:5] = value
        return replace(prediction, depth=depth)

    with pytest.raises(TrainerError, match="frame 0: depth is not finite at 2 of 96 pixels"):
        evaluate(diverged, Frames(truth))
