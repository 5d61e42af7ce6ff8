"""Arguments of a wrong type: one sentence at the door instead of an AttributeError from within."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.results.camera_intrinsics import CameraIntrinsics

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["require"]

_WANTED: Mapping[str, tuple[type, str]] = {
    "prediction": (Prediction, "a Prediction"),
    "table": (ClassTable, "a ClassTable, such as ClassTable(bundle.manifest.classes)"),
    "intrinsics": (CameraIntrinsics, "a CameraIntrinsics(fx, fy, cx, cy, width, height)"),
}


def require(*optional: str, **arguments: Any) -> None:
    """TypeError for the first argument that is not what its name says; those named `optional` may be None.

    >>> require(intrinsics=(500, 500, 320, 240))
    Traceback (most recent call last):
    TypeError: intrinsics: want a CameraIntrinsics(fx, fy, cx, cy, width, height), not tuple
    """
    for name, value in arguments.items():
        kind, wanted = _WANTED[name]
        if not (isinstance(value, kind) or (value is None and name in optional)):
            raise TypeError(f"{name}: want {wanted}, not {type(value).__name__}")
