"""Latency, start-up and peak memory of one precision on one backend, in a process of its own.

A fresh process, because both peak memory and start-up belong to the robot's program and not to whatever the
workstation has loaded. `python -m safetrip_calibration.measure` reads a job (JSON) on standard input and
writes the result (JSON) as its last line.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetrip_sdk.errors import SafetripError

__all__ = ["Job", "Measurement", "measure"]

WARMUP_S = 2.0


class MeasureError(SafetripError):
    """The measuring process failed."""


@dataclass(frozen=True)
class Job:
    """One precision on one backend: `frames` predictions, timed after `warmup` of them and two seconds."""

    bundle: str
    precision: str
    backend: str = "auto"
    frames: int = 200
    warmup: int = 10
    bf16: bool = False


@dataclass(frozen=True)
class Measurement:
    """What came out.

    Attributes:
        precision, backend, device: what really ran.
        latency_ms: of each call, frame in to prediction out, in order.
        startup_s: from the process's start to its first prediction.
        peak_memory_mb: largest resident set of the process (a GPU's own memory is not in it).
    """

    precision: str
    backend: str
    device: str
    frame_size: tuple[int, int]
    latency_ms: tuple[float, ...]
    startup_s: float
    peak_memory_mb: float


def measure(job: Job, images: Sequence[NDArray[np.uint8]]) -> Measurement:
    """Run the job on `images`, (H, W, 3) uint8 of one size, in turn.

    Raises:
        MeasureError: the process ended with an error, whose message is in this one, or there is no room for
            the images in the folder for temporary files.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.npy"
        try:
            np.save(file, np.stack(images))
        except OSError as error:
            why = error.strerror or error
            raise MeasureError(f"{file}: cannot be written: {why}; TMPDIR names another folder") from error
        words = [sys.executable, "-m", "safetrip_calibration.measure"]
        text = json.dumps({"job": asdict(job), "frames": str(file), "began": time.time()})
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise MeasureError(f"{job.bundle}: {job.precision} on {job.backend} could not be measured: {reason}")
    raw = json.loads(lines[-1])
    size = tuple(raw.pop("frame_size"))
    return Measurement(**{**raw, "frame_size": size, "latency_ms": tuple(raw["latency_ms"])})


def _main() -> int:
    request = json.load(sys.stdin)
    # Imported here: the parent needs none of it, and here it counts as start-up.
    from safetrip_sdk import CpuOptions, Runtime

    job = Job(**request["job"])
    frames = np.load(request["frames"], mmap_mode="r")
    try:
        size = (int(frames.shape[1]), int(frames.shape[2]))
        options: dict[str, Any] = {"cpu": CpuOptions(bf16=job.bf16)}
        with Runtime(
            job.bundle, precision=job.precision, backend=job.backend, frame_size=size, slots=1, **options
        ) as runtime:
            runtime(np.array(frames[0]))
            startup = time.time() - request["began"]
            latencies = _time(runtime, frames, job)
            backend = runtime.backend
            assert backend is not None
            result = Measurement(
                precision=job.precision,
                backend=backend.name,
                device=backend.device,
                frame_size=size,
                latency_ms=tuple(latencies),
                startup_s=startup,
                peak_memory_mb=_peak_memory_mb(),
            )
    except SafetripError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(asdict(result)), flush=True)
    return 0


def _peak_memory_mb() -> float:
    """Largest resident set of this program; getrusage's would include the parent's, from before exec."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # no /proc: not Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _time(runtime: Any, frames: NDArray[np.uint8], job: Job) -> list[float]:
    images = [np.array(frames[index]) for index in range(min(len(frames), 32))]
    begun, warmed = time.monotonic(), 0
    while warmed < job.warmup or (time.monotonic() - begun < WARMUP_S and warmed < 10 * job.warmup):
        runtime(images[warmed % len(images)])
        warmed += 1
    latencies = []
    for index in range(job.frames):
        image = images[index % len(images)]
        start = time.perf_counter()
        runtime(image)
        latencies.append((time.perf_counter() - start) * 1e3)
    return latencies


if __name__ == "__main__":
    # A plain return would run interpreter shutdown with a backend's threads still alive.
    status = _main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
