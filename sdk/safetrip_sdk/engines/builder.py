"""ONNX to serialised engine, with TensorRT or TensorRT for RTX."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from safetrip_sdk.cuda import Cuda
from safetrip_sdk.engines.apart import Task, run_apart
from safetrip_sdk.engines.tensorrt_library import Library
from safetrip_sdk.errors import BackendUnavailableError, EngineBuildError

__all__ = ["BuiltEngine", "build_engine"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltEngine:
    """A plan and, from TensorRT, the timings that make the next build quicker."""

    plan: bytes
    timing_cache: bytes = b""


def build_engine(
    onnx_bytes: bytes,
    backend: str,
    frame_size: tuple[int, int],
    *,
    timing_cache: bytes = b"",
    compute_capabilities: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
    device: int = 0,
) -> BuiltEngine:
    """Build an engine for one frame size from a strongly typed network (its precision is in the ONNX).

    Args:
        onnx_bytes: the deploy graph, a single file.
        backend: `"tensorrt"` (needs the GPU it builds for) or `"tensorrt_rtx"` (needs none).
        frame_size: (H, W) that the optimisation profile fixes.
        timing_cache: from an earlier build by the same TensorRT on the same GPU.
        compute_capabilities: RTX: names like `"SM89"`; empty: the library's portable default.
        progress: called with a line now and then, in the calling thread.
        device: index of the GPU that TensorRT builds for.

    Raises:
        BaseException: from a signal handler (Ctrl-C) or from `progress`; the build was cancelled.
        BackendUnavailableError: the library is not installed, or has no GPU to build for.
        EngineBuildError: it refuses the network; what it logged is in the message.
    """

    def build(task: Task) -> BuiltEngine:
        library = Library(backend)
        if not library.flavor.builds_without_gpu:
            Cuda(device).use()
        return _build(library, onnx_bytes, frame_size, timing_cache, compute_capabilities, task)

    return run_apart(build, progress)


def _build(
    library: Library,
    onnx_bytes: bytes,
    frame_size: tuple[int, int],
    timing_cache: bytes,
    compute_capabilities: Sequence[str],
    task: Task,
) -> BuiltEngine:
    """The steps of `build_engine`, in the thread that it gave them."""
    trt, version = library.trt, f"{library.name} {library.version}"
    library.listen()
    builder = library.make(trt.Builder, EngineBuildError)
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, library.logger)
    parsed = parser.parse(onnx_bytes)
    library.journal.check()
    if not parsed:
        errors = "".join(f"\n  {parser.get_error(index)}" for index in range(parser.num_errors))
        raise EngineBuildError(f"{version} cannot read the ONNX:{errors}{library.said()}")
    config = builder.create_builder_config()
    # So that `safetrip layers` can say afterwards what each layer computes in; costs no time when it runs.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _fix_frame(builder, network, config, frame_size)
    _set_capabilities(trt, config, library.name, compute_capabilities)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(library, task)
    cache = _timing_cache(config, timing_cache) if library.flavor.timing_cache else None
    try:
        plan = builder.build_serialized_network(network, config)
    except RuntimeError as error:
        raise EngineBuildError(f"{version}: {error}:{library.said()}") from error
    library.journal.check()  # first: what was lost in a callback is why there is no plan
    if plan is None:
        raise EngineBuildError(f"{version} built no engine for {frame_size}:{library.said()}")
    return BuiltEngine(bytes(plan), bytes(cache.serialize()) if cache is not None else b"")


def _flags(trt: Any) -> int:
    """Strongly typed where that is still a choice (10.x); from 11.0 on there is nothing else."""
    kinds = trt.NetworkDefinitionCreationFlag
    return 1 << int(kinds.STRONGLY_TYPED) if hasattr(kinds, "STRONGLY_TYPED") else 0


def _fix_frame(builder: Any, network: Any, config: Any, frame_size: tuple[int, int]) -> None:
    """One optimisation profile in which the frame has one size."""
    if network.num_inputs != 1:
        raise EngineBuildError(f"want one input, the network has {network.num_inputs}; is it a deploy graph?")
    frame = network.get_input(0)
    shape = (1, *frame_size, 3)
    fixed = tuple(frame.shape)
    if len(fixed) != 4 or any(side not in (-1, wanted) for side, wanted in zip(fixed, shape)):
        raise EngineBuildError(
            f"input {frame.name} is {fixed}, which cannot be {shape}; is it a deploy graph?"
        )
    profile = builder.create_optimization_profile()
    profile.set_shape(frame.name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        raise EngineBuildError(f"the builder refuses a profile for frames of {frame_size}")


def _timing_cache(config: Any, kept: bytes) -> Any:
    """The timings that the builder uses and adds to: those kept, where it takes them, else none yet."""
    cache = config.create_timing_cache(kept)  # None: not this library's
    if cache is not None and config.set_timing_cache(cache, False):
        return cache
    # Of another driver, say: the builder would time into a cache of its own, and the old one would stay.
    cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, False)
    return cache


def _set_capabilities(trt: Any, config: Any, backend: str, names: Sequence[str]) -> None:
    if not names:
        return
    kinds = getattr(trt, "ComputeCapability", None)
    there = dict(kinds.__members__) if kinds is not None else {}
    unknown = [name for name in names if name not in there]
    if unknown:
        raise BackendUnavailableError(
            f"{backend}: cannot build for {', '.join(unknown)}; "
            f"it knows: {', '.join(there) or 'this GPU alone'}"
        )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        if not config.set_compute_capability(there[name], index):
            raise EngineBuildError(f"{backend}: refuses to build for {name}")


def _monitor(library: Library, task: Task) -> Any:
    """A progress monitor that reports the outermost phase, in tenths, and ends a build nobody wants."""
    base = library.trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self.outer: str | None = None
            self.steps = 1
            self.tenth = 0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.outer, self.steps, self.tenth = phase, max(1, steps), 0

        def step_complete(self, phase: str, step: int) -> bool:
            if phase == self.outer and 10 * (step + 1) // self.steps > self.tenth:
                self.tenth = 10 * (step + 1) // self.steps
                task.report(f"{phase}: {10 * self.tenth} %")
            return not (task.cancelled or library.journal.failed)

        def phase_finish(self, phase: str) -> None:
            if phase == self.outer:
                self.outer = None

    return Monitor()
