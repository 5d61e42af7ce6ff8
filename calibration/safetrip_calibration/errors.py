"""What can go wrong between a bundle and its smaller precisions; all of it derives from SafetripError."""

from __future__ import annotations

from safetrip_sdk.errors import SafetripError

__all__ = [
    "BudgetFileError",
    "BundleChangedError",
    "CalibrationError",
    "FramesError",
    "GraphError",
    "ProfileError",
    "ThresholdsError",
]


class CalibrationError(SafetripError):
    """A precision cannot be made from this bundle with these frames."""


class BundleChangedError(CalibrationError):
    """Models were replaced in the bundle while something was made or measured from them."""


class FramesError(CalibrationError):
    """There are no frames, or not the kind that the step needs."""


class GraphError(CalibrationError):
    """An ONNX graph that the passes here do not understand; the message names the node."""


class BudgetFileError(SafetripError):
    """A budget file with an unknown key, a wrong type, or a key missing."""


class ThresholdsError(SafetripError):
    """A thresholds file with an unknown key or a wrong type."""


class ProfileError(SafetripError):
    """A device profile with an unknown key, a wrong type, or a key missing."""
