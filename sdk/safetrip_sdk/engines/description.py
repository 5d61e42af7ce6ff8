"""What an engine was built for and from: the description beside each plan in a bundle.

`engines/<key>.json` describes `engines/<key>.plan`. The key names backend, version, GPU (with its
multiprocessors and memory), compute capability, frame size and precision; an engine that RTX built without a
GPU, for all that it supports, says `any` for the GPU and its compute capability.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass

from safetrip_sdk.bundle import Bundle

__all__ = ["ANY", "EngineInfo", "EngineKey", "list_engines", "slug"]

log = logging.getLogger(__name__)

ANY = "any"
_SIDES = ("height", "width")


@dataclass(frozen=True)
class EngineKey:
    """What an engine is built for; `str()` is its file name without the suffix."""

    backend: str
    version: str
    gpu: str
    compute_capability: str
    height: int
    width: int
    precision: str

    def __str__(self) -> str:
        gpu = slug(self.gpu) or "gpu"
        capability = self.compute_capability.lower().replace(".", "")
        if gpu == ANY:
            place = ANY if capability == ANY else f"{ANY}-{capability}"
        else:
            place = f"{gpu}-sm{capability}"
        return f"{self.backend}-{self.version}-{place}-{self.height}x{self.width}-{self.precision}"


@dataclass(frozen=True)
class EngineInfo:
    """What engines/<key>.json says.

    Attributes:
        key: what the engine is for.
        driver: CUDA version of the driver at build time; empty when built without a GPU.
        model_sha256: of the ONNX file it was built from.
        seconds: that building took.
        created: ISO 8601, UTC.
    """

    key: EngineKey
    driver: str
    model_sha256: str
    seconds: float
    created: str

    @property
    def file(self) -> str:
        """The plan's path in the bundle."""
        return f"engines/{self.key}.plan"


def slug(text: str) -> str:
    """Small letters, digits and dashes: what a file's name holds of a device's."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def list_engines(bundle: Bundle, backend: str = "", precision: str = "") -> list[EngineInfo]:
    """The engines in the bundle, of one backend and precision where they are given, in their names' order.

    A malformed description, or one under another engine's name, is passed over with a warning: its engine is
    never loaded, and the others are none the worse for it.

    Raises:
        BundleCorruptError: a description differs from its hash.
    """
    first, last = backend and re.escape(f"{backend}-"), precision and re.escape(f"-{precision}")
    name = re.compile(rf"engines/{first}[^/]+{last}\.json")
    found = []
    for file in sorted(filter(name.fullmatch, bundle.manifest.files)):
        data = bundle.read(file)
        try:
            info = _parse(data, file)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s: no description of an engine, passing over it: %s", bundle.path / file, error)
            continue
        if backend in ("", info.key.backend) and precision in ("", info.key.precision):
            found.append(info)
    return found


def _parse(data: bytes, file: str) -> EngineInfo:
    """A description's content; any error of what is none."""
    raw = json.loads(data)
    key = EngineKey(**raw.pop("key"))
    info = EngineInfo(key, **raw)
    for name, value in (vars(key) | {"driver": info.driver, "model_sha256": info.model_sha256}).items():
        if not isinstance(value, int if name in _SIDES else str):
            raise TypeError(f"{name} is {value!r}")
    if file != f"engines/{key}.json":
        raise ValueError(f"it describes another engine ({key})")
    return info
