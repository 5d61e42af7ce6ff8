"""Why TensorRT is or is not used here, in plain words, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from safetrip_sdk.backends import GPU_BACKENDS, Availability
from safetrip_sdk.jetson import JetPack

__all__ = ["advise"]


def advise(
    found: Sequence[Availability], chosen: str | None, jetpack: JetPack | None, engines: Sequence[str] | None
) -> list[str]:
    """Sentences, the most important first.

    Args:
        found: of every backend.
        chosen: what backend="auto" takes.
        jetpack: of this machine; None: it is no Jetson.
        engines: the bundle's engine files; None: no bundle was given.
    """
    gpu = [item for item in found if item.name in GPU_BACKENDS]
    ready = [item for item in gpu if item.available]
    lines = []
    if chosen in GPU_BACKENDS and engines is not None:
        lines.append(f"The GPU is used: {chosen}, with an engine that was built for it.")
    elif ready:
        lines.append(_ready(ready[0], engines))
    elif jetpack is not None:
        lines += _on_jetson(jetpack, next(item for item in gpu if item.name == "tensorrt").reason)
    else:
        lines.append(
            "TensorRT is not used: this machine is no Jetson, and neither TensorRT nor TensorRT for RTX can "
            "run here (why: see above). Without an NVIDIA GPU that is as it should be."
        )
    if chosen is None:
        lines.append("Nothing can run here. The quickest way: pip install openvino.")
    elif chosen not in GPU_BACKENDS and jetpack is not None:
        lines.append(f"Until then frames go through {chosen} on the CPU, some ten times slower than the GPU.")
    return lines


def _ready(item: Availability, engines: Sequence[str] | None) -> str:
    where = f"{item.name} {item.version} can run on {item.device}"
    if engines is None:
        return f"{where}. Whether a bundle has an engine for it: safetrip doctor BUNDLE."
    return (
        f"TensorRT is not used yet: {where}, but this bundle has no engine that it "
        "takes (why: see above). Build one, once: safetrip build BUNDLE --frame HEIGHTxWIDTH (minutes)."
    )


def _on_jetson(jetpack: JetPack, reason: str) -> list[str]:
    here = f"This is a Jetson with {jetpack.name} (Jetson Linux {jetpack.l4t})"
    if not jetpack.supported:
        return [
            f"TensorRT is not used: {here}, whose TensorRT is {jetpack.tensorrt}; this SDK needs 10.3 or "
            "newer. Flash JetPack 6.2 or 7.2."
        ]
    lines = [f"TensorRT is not used although it could be. {here}, which brings TensorRT {jetpack.tensorrt}."]
    if "tensorrt: not usable" in reason:
        lines.append("Its Python module is not found: sudo apt install python3-libnvinfer.")
        if sys.prefix != sys.base_prefix and not _sees_system_packages():
            lines.append(
                "This virtual environment hides the system's packages, that module among them: "
                "python3 -m venv --system-site-packages VENV."
            )
    if "CUDA bindings" in reason:
        lines.append(f"The CUDA bindings are missing: pip install '{jetpack.cuda_python}'.")
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running != jetpack.python:
        lines.append(
            f"This is Python {running}; the module of this JetPack is for Python {jetpack.python}: "
            "use /usr/bin/python3."
        )
    if len(lines) == 1:
        lines.append(f"What it said: {reason}")
    return lines


def _sees_system_packages() -> bool:
    """Whether this virtual environment was made with --system-site-packages."""
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    settings = dict(line.split("=", 1) for line in text.replace(" ", "").splitlines() if "=" in line)
    return settings.get("include-system-site-packages") == "true"
