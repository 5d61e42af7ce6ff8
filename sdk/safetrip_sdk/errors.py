"""Every error SafeTrip raises on purpose, one tree.

::

    SafetripError
     ├─ BundleError                    a bundle cannot be used, made or changed
     │   ├─ BundleNotFoundError        no bundle at that path
     │   ├─ BundleCorruptError         a file is missing, unlisted, or not the one the manifest describes
     │   ├─ BundleBusyError            another process is changing it
     │   └─ ManifestError              manifest.json is malformed, or newer than this SDK
     ├─ BackendUnavailableError        an inference library is not installed, or cannot run here
     ├─ EngineError                    an engine cannot be built, found or loaded
     │   ├─ EngineBuildError           the builder refused the network (its log is in the message)
     │   └─ EngineMismatchError        a plan made for another device, version, driver or frame size
     ├─ FrameError            *        a frame of the wrong type, rank, dtype or size
     │   └─ FrameSizeError    *        a source's frame that is not of the size that the runtime is open for
     ├─ SourceError           *        frames cannot be read: no such file, camera gone, damaged image
     └─ RuntimeFaultError              the runtime could not produce a prediction
         ├─ InferenceError    *        the backend refused to run one frame
         ├─ CudaError         (*)      a CUDA call failed; `sticky`: the CUDA context is broken
         │   └─ DeviceLostError        the GPU is gone, or has reset itself
         ├─ ResultTimeoutError (*)     a result did not come in time; `stage` says where it hangs
         ├─ QueueFullError    *        the engine is slower than the camera, and the policy is "error"
         ├─ WorkerDiedError            a thread of the runtime died; `__cause__` is what killed it
         └─ RuntimeClosedError         used after close(), or closed while a frame was waiting

    * leaves the runtime usable (`error.recoverable`); (*) decided case by case. After every other fault
    `Runtime.reopen()` is the way back.
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailableError",
    "BundleBusyError",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "CudaError",
    "DeviceLostError",
    "EngineBuildError",
    "EngineError",
    "EngineMismatchError",
    "FrameError",
    "FrameSizeError",
    "InferenceError",
    "ManifestError",
    "QueueFullError",
    "ResultTimeoutError",
    "RuntimeClosedError",
    "RuntimeFaultError",
    "SafetripError",
    "SourceError",
    "WorkerDiedError",
]


class SafetripError(Exception):
    """Base of every error raised on purpose: its text names the thing at fault and what to do."""

    recoverable: bool = False
    """True when the runtime that raised it can be called again as it is."""


class BundleError(SafetripError):
    """A bundle cannot be used, made or changed."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the path given."""


class BundleCorruptError(BundleError):
    """Files differ from the manifest; `differences` lists every one found."""

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class BundleBusyError(BundleError):
    """Another process holds the bundle for a change."""


class ManifestError(BundleError):
    """manifest.json is malformed, inconsistent, or of a newer schema than this SDK reads."""


class BackendUnavailableError(SafetripError):
    """An inference backend cannot run here: not installed, no device, or no fitting model in the bundle."""


class EngineError(SafetripError):
    """An engine (serialised plan) cannot be built, found or loaded."""


class EngineBuildError(EngineError):
    """The builder refused the network; the message ends with what its logger said."""


class EngineMismatchError(EngineError):
    """A plan does not fit this device, library version, driver or frame size; `differences` says in what."""

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class FrameError(SafetripError, ValueError):
    """A frame that is no C-contiguous-able (H, W, 3) uint8 array of the runtime's size."""

    recoverable = True


class FrameSizeError(FrameError):
    """A source's frame that is not of the size that the runtime is open for; `size` is its (H, W)."""

    def __init__(self, message: str, size: tuple[int, int]) -> None:
        super().__init__(message)
        self.size = size


class SourceError(SafetripError):
    """A source of frames cannot be opened, or stopped giving frames it should have."""

    recoverable = True


class RuntimeFaultError(SafetripError):
    """The runtime could not produce a prediction."""


class InferenceError(RuntimeFaultError):
    """The backend failed on one frame; the next frame may succeed."""

    recoverable = True


class CudaError(RuntimeFaultError):
    """A CUDA call failed: `call` is its name, `code` CUDA's number; `sticky`: the context is broken."""

    def __init__(self, message: str, *, call: str = "", code: int = 0, sticky: bool = False) -> None:
        super().__init__(message)
        self.call = call
        self.code = code
        self.sticky = sticky
        self.recoverable = not sticky


class DeviceLostError(CudaError):
    """The GPU is no longer there (fell off the bus, was reset, driver restarted)."""


class ResultTimeoutError(RuntimeFaultError, TimeoutError):
    """No result in time. `stage` is where the frame is: queued, upload, compute, download or deliver; or
    opening, where another thread still opens the runtime.
    """

    def __init__(self, message: str, *, stage: str, recoverable: bool = True) -> None:
        super().__init__(message)
        self.stage = stage
        self.recoverable = recoverable


class QueueFullError(RuntimeFaultError):
    """All slots are busy and the policy forbids waiting."""

    recoverable = True


class WorkerDiedError(RuntimeFaultError):
    """A worker thread ended with an exception, which is this error's `__cause__`."""


class RuntimeClosedError(RuntimeFaultError):
    """The runtime is closed."""
