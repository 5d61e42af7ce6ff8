"""Whether a net can meet a budget on its device, before anybody has the device, or has trained the net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from safetrip_calibration.budget_file import Budget
from safetrip_calibration.calibrate import open_fp32
from safetrip_calibration.device_profile import DeviceProfile
from safetrip_calibration.graph import Graph, load
from safetrip_calibration.placement import QUANTIZABLE, place
from safetrip_calibration.roofline import Prediction, predict
from safetrip_sdk.bundle import Bundle

__all__ = ["BudgetPrediction", "predict_budget", "predict_model"]


@dataclass(frozen=True)
class BudgetPrediction:
    """Predictions against the budget's p50.

    Attributes:
        predictions: precision -> prediction.
        limit_ms: None when the budget has no p50.
        device: the profile's device, in words.
    """

    predictions: dict[str, Prediction]
    limit_ms: float | None
    device: str

    @property
    def passed(self) -> bool:
        """True when some precision fits."""
        best = min(item.total_ms for item in self.predictions.values())
        return self.limit_ms is None or best <= self.limit_ms

    def to_dict(self) -> dict[str, Any]:
        """For JSON; kernels are the ten slowest."""
        return {
            "device": self.device,
            "limit_ms": self.limit_ms,
            "passed": self.passed,
            "predictions": {
                name: {
                    "total_ms": item.total_ms,
                    "by_kind": item.by_kind,
                    "gmacs": item.gmacs,
                    "slowest": [list(kernel) for kernel in item.kernels[:10]],
                }
                for name, item in self.predictions.items()
            },
        }


def predict_model(model: ModelProto, budget: Budget, profile: DeviceProfile) -> BudgetPrediction:
    """Predict an FP32 deploy graph, trained or not: what a training can ask before its first epoch."""
    found = {name: predict(model, budget.frame_size, profile, name) for name in ("fp32", "fp16", "int8")}
    return BudgetPrediction(found, budget.latency_ms.get("p50"), profile.device)


def predict_budget(bundle: Bundle, budget: Budget, profile: DeviceProfile) -> BudgetPrediction:
    """Predict every precision that the bundle holds, each with the nodes that calibration kept in FP32; the
    mixed one by its own assignment.

    Raises:
        CalibrationError: the bundle holds no fp32.
    """
    graph = open_fp32(bundle)
    found = {}
    for name in bundle.manifest.precisions:
        given = _assignment(bundle, graph, name)
        kind = "int8" if name == "mixed" else name
        found[name] = predict(graph.model, budget.frame_size, profile, kind, given)
    return BudgetPrediction(found, budget.latency_ms.get("p50"), profile.device)


def _assignment(bundle: Bundle, graph: Graph, precision: str) -> dict[str, str]:
    """Node -> its own precision, of the nodes that do not have their model's."""
    record = bundle.manifest.calibration.get("precisions", {}).get(precision, {})
    kept = dict.fromkeys(record.get("kept_fp32", {}), "fp32")
    if precision != "mixed":
        return kept
    mixed = Graph(load(bundle.read(bundle.manifest.precisions["mixed"].file)))
    return {**dict.fromkeys(_in_float(graph, mixed), "fp16"), **kept}


def _in_float(fp32: Graph, mixed: Graph) -> list[str]:
    """Nodes that could be quantised and, in the mixed graph, read no DequantizeLinear."""
    makers = {name: mixed.producer[name].op_type for name in mixed.producer}
    skipped = place(fp32).skipped
    return [
        node.name
        for node in mixed.nodes
        if node.op_type in QUANTIZABLE
        and node.name not in skipped
        and makers.get(node.input[0]) != "DequantizeLinear"
    ]
