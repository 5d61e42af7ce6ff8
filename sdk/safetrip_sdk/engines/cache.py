"""The engines in a bundle: which one fits here, and building what is missing.

`engines/<key>.plan` is the engine, `engines/<key>.json` says what it was built for and from (see
`engines.description`), and `engines/<key>.runtime-cache` holds what RTX's JIT compiled.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from safetrip_sdk.bundle import Bundle
from safetrip_sdk.engines.description import ANY, EngineInfo, EngineKey, list_engines, slug
from safetrip_sdk.errors import (
    BackendUnavailableError,
    EngineBuildError,
    EngineError,
    EngineMismatchError,
)

if TYPE_CHECKING:
    from safetrip_sdk.cuda import Cuda
    from safetrip_sdk.engines.tensorrt_library import Library

__all__ = [
    "TARGETS",
    "FoundEngine",
    "build",
    "find",
    "find_or_build",
    "keep_runtime_cache",
    "key_for",
]

log = logging.getLogger(__name__)

TARGETS = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class FoundEngine:
    """An engine that fits, read and with its hash checked."""

    path: Path
    file: str
    plan: bytes
    runtime_cache: bytes


def key_for(library: Library, cuda: Cuda | None, frame_size: tuple[int, int], precision: str) -> EngineKey:
    """The key of an engine for this library and device; without one: for all that the library supports."""
    capability = ".".join(map(str, cuda.compute_capability)) if cuda else ANY
    gpu = cuda.model if cuda else ANY
    return EngineKey(library.name, library.version, gpu, capability, *frame_size, precision)


def find(bundle: Bundle, key: EngineKey, driver: str) -> FoundEngine:
    """The bundle's engine for `key`, or one that was built for any device.

    Raises:
        EngineMismatchError: there are engines of this backend and precision, and each differs in something.
        EngineError: there is none.
    """
    model = bundle.manifest.precisions[key.precision].file
    sha256 = bundle.manifest.files[model].sha256
    candidates = list_engines(bundle, key.backend, key.precision)
    # What was built for this GPU comes before what was built for many.
    candidates.sort(key=lambda info: info.key.compute_capability == ANY)
    near: list[tuple[EngineInfo, list[str]]] = []
    for info in candidates:
        differences = _differences(info, key, driver, sha256)
        if not differences:
            cache = f"engines/{info.key}.runtime-cache"
            kept = bundle.read(cache) if cache in bundle.manifest.files else b""
            return FoundEngine(bundle.path, info.file, bundle.read(info.file), kept)
        near.append((info, differences))
    command = f"safetrip build {bundle.path} --frame {key.height}x{key.width} --precision {key.precision}"
    if not near:
        raise EngineError(f"{bundle.path}: no {key.precision} engine for {key.backend}; build one: {command}")
    info, differences = min(near, key=lambda item: len(item[1]))
    raise EngineMismatchError(
        f"{bundle.path}: no engine fits this device; the nearest, {info.file}, differs: "
        f"{'; '.join(differences)}; build one: {command}",
        tuple(differences),
    )


def _differences(info: EngineInfo, key: EngineKey, driver: str, model_sha256: str) -> list[str]:
    """Why an engine may not be loaded, in words; empty when it may."""
    have = info.key
    pairs = [(f"{key.backend} version", have.version, key.version)]
    if have.gpu == ANY:
        targets = have.compute_capability.split("+")
        here = "SM" + key.compute_capability.replace(".", "")
        if targets != [ANY] and here not in targets:
            pairs.append(("compute capability", have.compute_capability, here))
    else:
        pairs += [
            ("GPU", have.gpu, key.gpu),
            ("compute capability", have.compute_capability, key.compute_capability),
            ("driver", info.driver, driver),
        ]
    pairs.append(("frame size", f"{have.width}x{have.height}", f"{key.width}x{key.height}"))
    found = [f"{what}: built for {built}, here {here}" for what, built, here in pairs if built != here]
    if info.model_sha256 != model_sha256:
        found.append(f"model: the {key.precision} model has changed since the engine was built")
    return found


def find_or_build(
    bundle: Bundle, key: EngineKey, driver: str, build_if_missing: bool, device: int
) -> FoundEngine:
    """`find`; what is missing is built first where that is asked for."""
    try:
        return find(bundle, key, driver)
    except EngineError as error:
        if not build_if_missing:
            raise
        log.warning("%s; building it now, which can take minutes", error)
    frame = (key.height, key.width)
    target = next(target for target, backend in TARGETS.items() if backend == key.backend)
    build(bundle.path, target, frame, [key.precision], device=device, progress=log.info)
    return find(Bundle.open(bundle.path), key, driver)


def build(
    bundle_path: str | os.PathLike[str],
    target: str,
    frame: tuple[int, int] = (1080, 1920),
    precisions: Sequence[str] | None = None,
    *,
    compute_capabilities: Sequence[str] = (),
    device: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[EngineInfo]:
    """Build engines into a bundle; an engine of the same key is replaced.

    Args:
        bundle_path: the bundle.
        target: `"rtx"` (TensorRT for RTX, no GPU needed) or `"tensorrt"` (this machine's GPU).
        frame: (H, W) of the camera's frames.
        precisions: names; None: all that the bundle has and no comparison rejected.
        compute_capabilities: RTX: names like `"SM89"`; empty: all that the library supports by default.
        device: index of the GPU that TensorRT builds for.
        progress: called with lines that say how far it is.

    Returns:
        What was built, in order.

    Raises:
        BackendUnavailableError: unknown or missing target, or a precision the bundle has not.
        EngineBuildError: the builder refused a network; names each precision. The other engines are built
            and kept.
    """
    from safetrip_sdk.cuda import Cuda
    from safetrip_sdk.engines.tensorrt_library import Library

    if target not in TARGETS:
        raise BackendUnavailableError(f"no target {target!r}; there are: {', '.join(TARGETS)}")
    bundle = Bundle.open(bundle_path)
    there = bundle.manifest.precisions
    wanted = (
        [name for name in there if there[name].accepted is not False] if precisions is None else precisions
    )
    missing = [name for name in wanted if name not in there]
    if missing or not wanted:
        raise BackendUnavailableError(
            f"{bundle.path}: no precision {', '.join(missing) or 'that was accepted'}; "
            f"it has: {', '.join(there) or 'none'}"
        )
    library = Library(TARGETS[target])
    cuda = None if library.flavor.builds_without_gpu else Cuda(device)
    built, refused = [], []
    for precision in wanted:
        key = key_for(library, cuda, frame, precision)
        if compute_capabilities:
            key = replace(key, compute_capability=_named(compute_capabilities, device))
        driver = cuda.driver if cuda else ""
        try:
            built.append(_build_one(bundle.path, key, driver, compute_capabilities, device, progress))
        except EngineBuildError as error:
            refused.append(f"{precision}: {error}")
    if refused:
        raise EngineBuildError("\n".join(refused))
    return built


def _named(capabilities: Sequence[str], device: int) -> str:
    """The capabilities as a key holds them; RTX's `CURRENT` is that of this machine's GPU."""
    from safetrip_sdk.cuda import Cuda

    here = "SM{}{}".format(*Cuda(device).compute_capability) if "CURRENT" in capabilities else ""
    return "+".join(here if name == "CURRENT" else name for name in capabilities)


def _build_one(
    path: Path,
    key: EngineKey,
    driver: str,
    capabilities: Sequence[str],
    device: int,
    progress: Callable[[str], None] | None,
) -> EngineInfo:
    from safetrip_sdk.engines.builder import build_engine

    bundle = Bundle.open(path)
    model = bundle.manifest.precisions[key.precision].file
    timing_file = f"engines/{key.backend}-{key.version}-{slug(key.gpu)}.timing-cache"
    timing = bundle.read(timing_file) if timing_file in bundle.manifest.files else b""

    def report(line: str) -> None:
        if progress is not None:
            progress(f"{key.precision}: {line}")

    report(f"building {key}")
    started = time.monotonic()
    result = build_engine(
        bundle.read(model),
        key.backend,
        (key.height, key.width),
        timing_cache=timing,
        compute_capabilities=capabilities,
        progress=report,
        device=device,
    )
    seconds = round(time.monotonic() - started, 2)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    info = EngineInfo(key, driver, bundle.manifest.files[model].sha256, seconds, created)
    with Bundle.edit(path) as draft:
        draft.write(info.file, result.plan)
        draft.write(f"engines/{key}.json", (json.dumps(asdict(info), indent=2) + "\n").encode())
        if result.timing_cache:
            draft.write(timing_file, result.timing_cache)
        stale = f"engines/{key}.runtime-cache"
        if stale in draft.manifest.files:
            draft.remove(stale)
    report(f"{len(result.plan) / 1e6:.1f} MB in {seconds:.1f} s")
    return info


def keep_runtime_cache(found: FoundEngine, data: bytes) -> None:
    """Store RTX's compiled kernels beside the plan, where they are new."""
    if data and data != found.runtime_cache:
        with Bundle.edit(found.path) as draft:
            draft.write(found.file.removesuffix(".plan") + ".runtime-cache", data)
