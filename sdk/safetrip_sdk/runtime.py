"""`Runtime`: a bundle, opened, called with frames."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from safetrip_sdk.backends.base import Backend
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.choice import open_first, require_some_backend
from safetrip_sdk.classes import ClassTable
from safetrip_sdk.errors import RuntimeClosedError
from safetrip_sdk.frame import size_of
from safetrip_sdk.inference.input_slot import InputSlot
from safetrip_sdk.inference.lifecycle import Lifecycle
from safetrip_sdk.inference.pipeline import Pipeline
from safetrip_sdk.inference.stats import RuntimeStats, StatsRecorder
from safetrip_sdk.inference.ticket import Ticket
from safetrip_sdk.inference.timeouts import seconds
from safetrip_sdk.options import FrameSize, RuntimeOptions
from safetrip_sdk.prediction import Prediction
from safetrip_sdk.termination import close_at_exit

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from safetrip_sdk.sources import FrameSource

__all__ = ["Runtime"]

log = logging.getLogger(__name__)


class Runtime:
    """Camera frames in, labels and metric depth out.

    >>> with Runtime("sidewalk.bundle") as runtime:      # doctest: +SKIP
    ...     prediction = runtime(frame)

    May be called from several threads. The model is compiled for one frame size: `frame_size`, or that of the
    first frame (the first call then takes as long as compiling does).

    Args:
        bundle: path of a bundle, or an opened one.
        options: see `RuntimeOptions`, given as keywords.

    Raises:
        BundleError: the bundle cannot be read, or a file in it differs from its hash.
        BackendUnavailableError: no backend asked for can run here; the text says why not.
        EngineError: the GPU backend asked for has no engine for this device.
    """

    _precision: str | None = None
    _pipeline: Pipeline | None = None

    def __init__(self, bundle: str | os.PathLike[str] | Bundle, **options: Any) -> None:
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        parsed = RuntimeOptions(**options)

        require_some_backend(opened, parsed)
        self.bundle: Bundle | None = opened
        self._start(self._open_bundle, ClassTable(opened.manifest.classes), parsed)

    @classmethod
    def over(
        cls, opener: Callable[[FrameSize], Backend], classes: tuple[str, ...], **options: Any
    ) -> Runtime:
        """A runtime over a backend of your own: `opener` gets (H, W) and returns it (see backends.base)."""
        self = cls.__new__(cls)
        self.bundle = None
        self._start(opener, classes, RuntimeOptions(**options))
        return self

    def _start(
        self, opener: Callable[[FrameSize], Backend], classes: tuple[str, ...], options: RuntimeOptions
    ) -> None:
        self._opener = opener
        self._classes = classes
        self.options = options
        self._stats = StatsRecorder()
        self._ids = itertools.count()  # goes on when the runtime is opened anew
        self._life = Lifecycle(options.hang_after)
        close_at_exit(self)
        if options.frame_size is not None:
            self.open(options.frame_size)

    def _open_bundle(self, frame_size: FrameSize) -> Backend:
        """A backend of the bundle as it is now: engines and compiled kernels come and go in it."""
        assert self.bundle is not None
        self.bundle = Bundle.open(self.bundle.path)
        self._classes = ClassTable(self.bundle.manifest.classes)
        backend, self._precision = open_first(self.bundle, self.options, frame_size)
        return backend

    def _open(self, frame_size: FrameSize) -> Pipeline:
        backend = self._opener(frame_size)
        options = self.options
        pipeline = Pipeline(backend, options.slots, self._classes, self._stats, options.hang_after, self._ids)
        log.info("opened %s on %s for %dx%d frames", backend.name, backend.device, *frame_size[::-1])
        self._pipeline = pipeline
        if self._life.closed:  # meanwhile, by a signal handler, or by a thread that did not wait so long
            pipeline.close()
            raise RuntimeClosedError("the runtime was closed while it was being opened")
        return pipeline

    def open(self, frame_size: FrameSize) -> Pipeline:
        """Compile for a frame size now instead of at the first frame; no effect when open."""
        return self._opened(frame_size, None)[0]

    def _opened(self, frame_size: FrameSize, timeout: float | None) -> tuple[Pipeline, float | None]:
        """The pipeline, and what is left of `timeout` after another thread has opened it."""
        timeout, started = seconds(timeout), time.monotonic()
        with self._life.opening(timeout):
            rest = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
            return self._pipeline or self._open(frame_size), rest

    def __call__(
        self, frame: NDArray[np.uint8], *, timeout: float | None = None, captured_at: int | None = None
    ) -> Prediction:
        """Predict one frame and wait for it.

        Args:
            frame: (H, W, 3) uint8 BGR; read in place where the backend can, so leave it alone meanwhile.
            timeout: seconds; None waits as long as it takes. It bounds waiting for another thread that opens
                the runtime, too; what this call opens itself takes as long as that takes.
            captured_at: when the frame was taken (`time.monotonic_ns`, of the last hour); None: now.

        Raises:
            FrameError: wrong type, shape or dtype.
            ResultTimeoutError: not ready in time; the runtime stays usable.
            RuntimeFaultError: the backend failed; `error.recoverable` says whether to go on.
            ValueError: `captured_at` is by another clock.
        """
        pipeline = self._pipeline
        if pipeline is None:
            pipeline, timeout = self._opened(size_of(frame), timeout)
        try:
            return pipeline.run(frame, captured_at, timeout)
        finally:
            if pipeline.put_off:
                pipeline.close()

    def submit(
        self, frame: NDArray[np.uint8], *, timeout: float | None = None, captured_at: int | None = None
    ) -> Ticket:
        """Start one frame (copied at once) and return; `timeout` bounds the wait for a free slot."""
        pipeline = self._pipeline
        if pipeline is None:
            pipeline, timeout = self._opened(size_of(frame), timeout)
        try:
            return pipeline.submit(frame, captured_at, timeout)
        finally:
            if pipeline.put_off:
                pipeline.close()

    def slot(self, *, timeout: float | None = None) -> InputSlot:
        """A free slot, to write a frame straight into the memory that the engine reads, and submit it.

        For cameras that fill an array they are given (`FrameSource.read_into`, a driver's own call): it saves
        the copy that `submit` makes. `timeout` bounds the wait for a free one.

        Raises:
            ValueError: the frame size is not known yet: give `frame_size=`, or call `open`.
            ResultTimeoutError: none came free in time.
            RuntimeFaultError: as from a call.
        """
        pipeline = self._pipeline
        if pipeline is None:
            raise ValueError("slot: no frame size yet; use Runtime(..., frame_size=(H, W)) or open((H, W))")
        return InputSlot(pipeline, timeout)

    def stream(
        self,
        source: FrameSource | Iterable[NDArray[np.uint8]] | str | os.PathLike[str] | int,
        policy: str = "auto",
        follow_size: bool = False,
    ) -> Iterator[Prediction]:
        """Predictions of a source's frames: capture, upload, compute and download overlap.

        Args:
            source: from `open_source` (yours to close), a cv2.VideoCapture, or any iterable of frames; or a
                URI or a camera's number, opened at the first `next`, closed when the stream ends or is left.
            policy: when the engine is slower than the source: `"latest"` drops the oldest waiting frame
                (and counts it), `"block"` makes the source wait, `"error"` raises QueueFullError;
                `"auto"` is latest for live sources and block for files.
            follow_size: when frames come of another size than the runtime is open for, reopen it for theirs
                (on a CPU some seconds; a GPU needs an engine for it) instead of raising FrameSizeError.

        Raises:
            FrameSizeError: the source, or a frame amid it, is of another size than the runtime is open for.
            SourceError: the source cannot be opened or fails; raised where its frame would have come.
            RuntimeFaultError: as from a call.
        """
        from safetrip_sdk.inference.stream import stream

        return stream(self, source, policy, follow_size)

    def reopen(self, frame_size: FrameSize | None = None) -> None:
        """Close what is open and open it anew: after a fault, or for another frame size.

        What hangs is left behind (its memory, too) and a new pipeline is made beside it. The bundle
        is taken as it is on disk now.

        Raises:
            RuntimeClosedError: the runtime has been closed.
            SafetripError: it cannot be opened again; call `reopen` later, or `close`.
        """
        with self._life.opening():
            old, self._pipeline = self._pipeline, None
            size = frame_size or self.options.frame_size
            if old is not None:
                size = frame_size or (old.frame_shape[0], old.frame_shape[1])
                old.close()
            if size is not None:
                self._open(size)

    def close(self) -> None:
        """Finish frames in flight and free everything; idempotent.

        A signal handler may call it: where it interrupts a call of its own thread, or the opening, that ends
        as it would have, and frees everything then; later calls raise RuntimeClosedError at once.
        """
        self._life.close()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.close()

    def __del__(self) -> None:
        pipeline = self._pipeline
        if pipeline is not None and not pipeline.closed:
            warnings.warn(
                "a runtime was dropped open; use `with Runtime(...)`", ResourceWarning, stacklevel=1
            )
            # Garbage is collected in any thread, one of the pipeline's own, too, for which closing waits.
            threading.Thread(target=pipeline.close, name="safetrip-close").start()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """True while calls can succeed; False while it opens, after close(), and after a fault that needs
        reopen().
        """
        return self._life.usable and (self._pipeline is None or self._pipeline.fault is None)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id; a `ClassTable` where a bundle was opened."""
        return self._classes

    @property
    def backend(self) -> Backend | None:
        """The opened backend (`name`, `device`, `spec`); None before the first frame."""
        return self._pipeline.backend if self._pipeline else None

    @property
    def precision(self) -> str | None:
        """The precision that was opened; None before the first frame, and over a backend of your own."""
        return self._precision

    def stats(self, reset: bool = False) -> RuntimeStats:
        """Percentiles of each stage, frames, drops and errors; with `reset`, counting starts anew."""
        snapshot = self._stats.snapshot()
        if reset:
            self._stats.reset()
        return snapshot
