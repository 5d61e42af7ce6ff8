"""Does a replay give what was recorded?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from safetrip_sdk.prediction import Prediction
from safetrip_sdk.recording.source import RecordedResult

__all__ = ["Comparison", "FrameDifference", "compare"]

_SAME = ("model_sha256", "precision", "backend", "backend_version", "device", "threads", "bf16")


@dataclass(frozen=True)
class FrameDifference:
    """One frame whose result is not, bit by bit, the recorded one.

    Attributes:
        origin: of the frame.
        agreement: fraction of pixels with the same label.
        depth_mean, depth_max: metres, absolute differences; inf where the sizes differ.
    """

    origin: str
    agreement: float
    depth_mean: float
    depth_max: float


@dataclass
class Comparison:
    """Frame by frame against a recording.

    Attributes:
        exact: results must be equal bit by bit: the same model, backend, version, device and options, over
            lossless frames. Else the labels' agreement is counted.
        least: fraction of pixels that must agree in each frame where `exact` is False.
        changed: in what the two differ, as `name: recorded -> now`.
        frames: compared so far.
        missing: frames without a recorded result.
        differences: of the frames that are not equal.
    """

    exact: bool
    least: float
    changed: tuple[str, ...] = ()
    frames: int = 0
    missing: int = 0
    differences: list[FrameDifference] = field(default_factory=list)

    @classmethod
    def between(
        cls, recorded: Mapping[str, str], now: Mapping[str, str], lossless: bool, least: float | None
    ) -> Comparison:
        """A comparison of two identities (see `recorder.identity`); `least` given: never bit by bit."""
        changed = tuple(
            f"{name}: {recorded.get(name, 'unknown')} -> {now.get(name, 'unknown')}"
            for name in _SAME
            if recorded.get(name) != now.get(name)
        )
        return cls(lossless and not changed and least is None, 0.99 if least is None else least, changed)

    def add(self, prediction: Prediction, recorded: RecordedResult | None, origin: str) -> None:
        """Compare one frame."""
        if recorded is None:
            self.missing += 1
            return
        self.frames += 1
        difference = compare(prediction, recorded, origin)
        if difference is not None:
            self.differences.append(difference)

    @property
    def failed(self) -> list[FrameDifference]:
        """The frames that differ by more than is allowed."""
        return [item for item in self.differences if self.exact or item.agreement < self.least]

    @property
    def ok(self) -> bool:
        """True when there was something to compare and nothing failed."""
        return self.frames > 0 and not self.failed

    @property
    def agreement(self) -> float:
        """Mean fraction of pixels with the same label, over all frames."""
        lost = sum(1 - item.agreement for item in self.differences)
        return 1 - lost / self.frames if self.frames else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "ok": self.ok,
            "exact": self.exact,
            "frames": self.frames,
            "missing": self.missing,
            "different": len(self.differences),
            "failed": [vars(item) for item in self.failed],
            "agreement": self.agreement,
            "least_agreement": self.least,
            "changed": list(self.changed),
        }


def compare(prediction: Prediction, recorded: RecordedResult, origin: str = "") -> FrameDifference | None:
    """None where labels, depth and confidence are the same bit by bit (NaN equals NaN)."""
    if prediction.labels.shape != recorded.labels.shape:
        return FrameDifference(origin, 0.0, float("inf"), float("inf"))
    same = prediction.labels == recorded.labels
    equal = bool(same.all()) and prediction.depth.tobytes() == recorded.depth.tobytes()
    if prediction.confidence is not None and recorded.confidence is not None:
        equal = equal and np.array_equal(prediction.confidence, recorded.confidence)
    elif (prediction.confidence is None) != (recorded.confidence is None):
        equal = False
    if equal:
        return None
    apart = np.abs(prediction.depth - recorded.depth)
    return FrameDifference(origin, float(same.mean()), float(apart.mean()), float(apart.max()))
