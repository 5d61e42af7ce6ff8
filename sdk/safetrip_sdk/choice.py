"""Which backend and precision of a bundle run here: what `auto` tries, its order, and why not the others.

The runtime opens by this, and `safetrip doctor` tells it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from safetrip_sdk.backends import AUTO_PRECISIONS, BACKENDS, GPU_BACKENDS, open_backend, probe
from safetrip_sdk.backends.base import Backend, BackendOptions
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.errors import BackendUnavailableError, BundleError, EngineError, SafetripError
from safetrip_sdk.manifest import Manifest, PrecisionInfo
from safetrip_sdk.options import FrameSize, RuntimeOptions

__all__ = ["Candidate", "auto_precisions", "open_first", "require_some_backend", "survey"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """One precision on one backend, in the order in which they are tried.

    Attributes:
        backend: its name.
        precision: its name; empty where the backend cannot run here at all.
        reason: why it is passed over; empty where it runs.
        rejected: True where the comparison's verdict is that reason.
    """

    backend: str
    precision: str
    reason: str = ""
    rejected: bool = False


def auto_precisions(manifest: Manifest) -> list[str]:
    """What `precision="auto"` tries of a bundle, best first."""
    there = manifest.precisions
    return [name for name in AUTO_PRECISIONS if name in there and not _refusal(name, there[name])]


def _refusal(name: str, info: PrecisionInfo) -> str:
    """Why `auto` does not take a precision; empty where it does."""
    if info.accepted is False:
        return f"`trainer compare` rejected it{_violations(info)}; precision={name!r} takes it all the same"
    if name == "mixed" and info.accepted is None:
        return "a mixture is taken once `trainer compare` has accepted it"
    return ""


def _violations(info: PrecisionInfo) -> str:
    try:
        rows = info.metrics["compare"]["backends"].items()
        said = [f"on {backend} {text}" for backend, row in rows for text in row["violations"]]
    except (KeyError, TypeError, AttributeError):
        return ""  # a manifest of other makers: the verdict stands without its figures
    return f": {'; '.join(said)}" if said else ""


def _candidates(bundle: Bundle, options: RuntimeOptions) -> Iterator[Candidate]:
    """Every precision on every backend asked for; those that are not even tried say why."""
    there = bundle.manifest.precisions
    for backend in BACKENDS if options.backend == "auto" else (options.backend,):
        found = probe(backend, options.device)
        if not found.available:
            yield Candidate(backend, "", found.reason)
        elif options.precision != "auto":
            yield Candidate(backend, options.precision)
        else:
            for name in (name for name in AUTO_PRECISIONS if name in there):
                refusal = _refusal(name, there[name])
                yield Candidate(backend, name, refusal, rejected=bool(refusal))


def _open(bundle: Bundle, item: Candidate, options: RuntimeOptions, frame_size: FrameSize) -> Backend:
    chosen = BackendOptions(frame_size, item.precision, options.wait, options.device, options.cpu)
    backend = open_backend(item.backend, bundle, chosen, options.build_if_missing)
    _require_described(backend, bundle)
    return backend


def _require_described(backend: Backend, bundle: Bundle) -> None:
    """BundleError where the model is not of the size that the manifest says: one of them is another's."""
    says = bundle.manifest.input
    found = backend.spec.labels.shape[1:]
    if found != (says.height, says.width):
        backend.close()
        raise BundleError(
            f"{bundle.path}: the manifest says a net of {says.height}x{says.width}, its model gives "
            f"{found[0]}x{found[1]}; copy the bundle again from where it was made"
        )


def open_first(bundle: Bundle, options: RuntimeOptions, frame_size: FrameSize) -> tuple[Backend, str]:
    """The first backend, in its first precision, that opens; what was passed over is logged."""
    errors: list[SafetripError] = []
    passed_over: list[str] = []
    for item in _candidates(bundle, options):
        if item.rejected:
            continue
        if item.reason:
            errors.append(BackendUnavailableError(item.reason))
            continue
        try:
            backend = _open(bundle, item, options, frame_size)
        except (BackendUnavailableError, EngineError) as error:
            passed_over.append(f"passing over {item.backend} {item.precision}: {error}")
            errors.append(error)
            continue
        # A GPU that stays idle is worth a warning: the robot would be slow without a word.
        for line in passed_over:
            log.warning(line)
        return backend, item.precision
    # What keeps a library from running at all, it says of each precision.
    reasons = list(dict.fromkeys(map(str, errors)))
    if len(reasons) == 1:
        raise errors[0]
    listing = "".join(f"\n  {reason}" for reason in reasons)
    raise BackendUnavailableError(f"{bundle.path}: nothing that was tried can run here:{listing}")


def survey(bundle: Bundle, options: RuntimeOptions, frame_size: FrameSize) -> list[Candidate]:
    """What `open_first` would do, in its order: the first without a reason is what runs.

    It is opened, as the runtime would, and closed again; those behind it are looked for and not opened.

    Raises:
        BundleError: a file that would be read is damaged.
    """
    found: list[Candidate] = []
    first: Candidate | None = None
    for item in _candidates(bundle, options):
        if not item.reason:
            item = replace(item, reason=_obstacle(bundle, item, options, frame_size, first is None))
            if not item.reason and first is None:
                first = item
            elif not item.reason:
                assert first is not None
                item = replace(item, reason=f"{first.backend} {first.precision} comes first")
        found.append(item)
    return found


def _obstacle(
    bundle: Bundle, item: Candidate, options: RuntimeOptions, frame_size: FrameSize, to_open: bool
) -> str:
    """Why a candidate cannot run; empty where nothing is in its way."""
    try:
        if to_open:
            _open(bundle, item, options, frame_size).close()
        elif item.backend in GPU_BACKENDS:
            from safetrip_sdk.cuda import Cuda
            from safetrip_sdk.engines import find, key_for
            from safetrip_sdk.engines.tensorrt_library import Library

            cuda = Cuda(options.device)
            find(bundle, key_for(Library(item.backend), cuda, frame_size, item.precision), cuda.driver)
    except (BackendUnavailableError, EngineError) as error:
        return str(error)
    return ""


def require_some_backend(bundle: Bundle, options: RuntimeOptions) -> None:
    """Fail at once, not at the first frame, when no backend or no precision can be had."""
    there = bundle.manifest.precisions
    auto = options.precision == "auto"
    if not auto_precisions(bundle.manifest) if auto else options.precision not in there:
        raise BackendUnavailableError(
            f"{bundle.path}: no usable precision {options.precision!r}; it has: "
            + (", ".join(f"{name} (accepted: {info.accepted})" for name, info in there.items()) or "none")
        )
    names = BACKENDS if options.backend == "auto" else (options.backend,)
    found = [probe(name, options.device) for name in names]
    if not any(item.available for item in found):
        reasons = "".join(f"\n  {item.reason}" for item in found)
        raise BackendUnavailableError(f"no backend can run here:{reasons}")
