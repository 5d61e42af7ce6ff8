"""TensorRT engines: found in a bundle, built where they are missing, and what their layers are."""

from safetrip_sdk.engines.cache import (
    TARGETS,
    FoundEngine,
    build,
    find,
    find_or_build,
    keep_runtime_cache,
    key_for,
)
from safetrip_sdk.engines.description import ANY, EngineInfo, EngineKey, list_engines

__all__ = [
    "ANY",
    "TARGETS",
    "EngineInfo",
    "EngineKey",
    "FoundEngine",
    "build",
    "find",
    "find_or_build",
    "keep_runtime_cache",
    "key_for",
    "list_engines",
]
