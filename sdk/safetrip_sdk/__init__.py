"""Camera frames to surface and obstacle labels and metric depth, on the robot.

>>> from safetrip_sdk import Runtime                    # doctest: +SKIP
>>> with Runtime("sidewalk.bundle") as runtime:         # doctest: +SKIP
...     prediction = runtime(frame)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from safetrip_sdk._version import __version__

if TYPE_CHECKING:
    from safetrip_sdk.backends.base import CpuOptions
    from safetrip_sdk.bundle import Bundle
    from safetrip_sdk.classes import ClassTable
    from safetrip_sdk.errors import (
        BackendUnavailableError,
        BundleBusyError,
        BundleCorruptError,
        BundleError,
        BundleNotFoundError,
        CudaError,
        DeviceLostError,
        EngineBuildError,
        EngineError,
        EngineMismatchError,
        FrameError,
        FrameSizeError,
        InferenceError,
        ManifestError,
        QueueFullError,
        ResultTimeoutError,
        RuntimeClosedError,
        RuntimeFaultError,
        SafetripError,
        SourceError,
        WorkerDiedError,
    )
    from safetrip_sdk.inference.input_slot import InputSlot
    from safetrip_sdk.inference.stats import RuntimeStats
    from safetrip_sdk.inference.ticket import Ticket
    from safetrip_sdk.manifest import Manifest
    from safetrip_sdk.options import RuntimeOptions
    from safetrip_sdk.outputs import FrameKeeper
    from safetrip_sdk.overlay import Overlay
    from safetrip_sdk.prediction import Prediction, Timing
    from safetrip_sdk.results import CameraIntrinsics, Hazard, LabelledPoints, Walkable
    from safetrip_sdk.runtime import Runtime
    from safetrip_sdk.sources import FrameSource, open_source

# Loaded when first asked for: importing the package touches no backend, no GPU, and little else.
_HOMES = {
    "Bundle": "bundle",
    "CameraIntrinsics": "results",
    "ClassTable": "classes",
    "CpuOptions": "backends.base",
    "FrameKeeper": "outputs",
    "FrameSource": "sources",
    "Hazard": "results",
    "InputSlot": "inference.input_slot",
    "LabelledPoints": "results",
    "Manifest": "manifest",
    "Overlay": "overlay",
    "Prediction": "prediction",
    "Runtime": "runtime",
    "RuntimeOptions": "options",
    "RuntimeStats": "inference.stats",
    "Ticket": "inference.ticket",
    "Timing": "prediction",
    "Walkable": "results",
    "open_source": "sources",
}

__all__ = [
    "BackendUnavailableError",
    "Bundle",
    "BundleBusyError",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "CameraIntrinsics",
    "ClassTable",
    "CpuOptions",
    "CudaError",
    "DeviceLostError",
    "EngineBuildError",
    "EngineError",
    "EngineMismatchError",
    "FrameError",
    "FrameKeeper",
    "FrameSizeError",
    "FrameSource",
    "Hazard",
    "InferenceError",
    "InputSlot",
    "LabelledPoints",
    "Manifest",
    "ManifestError",
    "Overlay",
    "Prediction",
    "QueueFullError",
    "ResultTimeoutError",
    "Runtime",
    "RuntimeClosedError",
    "RuntimeFaultError",
    "RuntimeOptions",
    "RuntimeStats",
    "SafetripError",
    "SourceError",
    "Ticket",
    "Timing",
    "Walkable",
    "WorkerDiedError",
    "__version__",
    "open_source",
]
_HOMES |= {name: "errors" for name in __all__ if name.endswith("Error")}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
