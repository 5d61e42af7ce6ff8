"""The inference libraries a runtime can use, and which of them can run here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetrip_sdk.backends.base import Backend, BackendOptions, CpuOptions
from safetrip_sdk.errors import BackendUnavailableError, SafetripError

if TYPE_CHECKING:
    from safetrip_sdk.bundle import Bundle

__all__ = [
    "AUTO_PRECISIONS",
    "BACKENDS",
    "GPU_BACKENDS",
    "Availability",
    "Backend",
    "BackendOptions",
    "CpuOptions",
    "open_backend",
    "probe",
]

GPU_BACKENDS = ("tensorrt", "tensorrt_rtx")
CPU_BACKENDS = ("openvino", "onnxruntime")
BACKENDS = (*GPU_BACKENDS, *CPU_BACKENDS)
"""In the order in which `backend="auto"` tries them."""

AUTO_PRECISIONS = ("int8", "mixed", "fp16", "fp32")
"""In the order in which `precision="auto"` tries them, those that the bundle's comparison does not forbid."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here, and if not, why not and what to do."""

    name: str
    available: bool
    version: str = ""
    device: str = ""
    reason: str = ""


def _cpu_module(name: str) -> Any:
    return importlib.import_module(f"safetrip_sdk.backends.{name}")


def probe(name: str, device: int = 0) -> Availability:
    """Look whether the backend `name` is installed and has a device; never raises for what is missing."""
    check_backend(name)
    try:
        if name in CPU_BACKENDS:
            return Availability(name, True, version=_cpu_module(name).version(), device="CPU")
        from safetrip_sdk.backends import tensorrt

        version, gpu = tensorrt.probe(name, device)
    except SafetripError as error:
        return Availability(name, False, reason=str(error))
    return Availability(name, True, version=version, device=gpu)


def check_backend(name: str) -> None:
    """BackendUnavailableError for a name that is no backend's."""
    if name not in BACKENDS:
        raise BackendUnavailableError(f"no backend {name!r}; there are: auto, {', '.join(BACKENDS)}")


def open_backend(
    name: str, bundle: Bundle, options: BackendOptions, build_if_missing: bool = False
) -> Backend:
    """Compile (CPU) or load (GPU) one precision of a bundle.

    Raises:
        BackendUnavailableError: not installed, no device, or the bundle has no such precision.
        EngineError: on a GPU, there is no engine that fits this device.
    """
    check_backend(name)
    info = bundle.manifest.precisions.get(options.precision)
    if info is None:
        there = ", ".join(bundle.manifest.precisions) or "none"
        raise BackendUnavailableError(
            f"{bundle.path}: no precision {options.precision!r}; it has: {there} "
            "(`trainer calibrate` makes others)"
        )
    if name == "openvino":
        from safetrip_sdk.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(bundle.read(info.file), options)
    if name == "onnxruntime":
        from safetrip_sdk.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(bundle.read(info.file), options)
    from safetrip_sdk.backends import tensorrt

    return tensorrt.open_backend(name, bundle, options, build_if_missing)
