"""`safetrip bench`: latency and throughput of a bundle on this machine."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, TextIO

import numpy as np

from safetrip_sdk._version import __version__
from safetrip_sdk.backends import BACKENDS, probe
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.cli.argument_types import frame_size, whole
from safetrip_sdk.cli.options import add_runtime_options, runtime_options, write_json
from safetrip_sdk.device import describe_device
from safetrip_sdk.errors import BackendUnavailableError, EngineError, SafetripError
from safetrip_sdk.runtime import Runtime
from safetrip_sdk.sources import open_source

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "measure a bundle's latency and throughput here"
EPILOG = """\
Latency is that of runtime(frame), copies included; throughput that of runtime.stream over the same frames.
--backend all and --precision all measure everything that can run here.

exit status: 0 done; 2 bad input, or nothing could be measured; 130 interrupted

examples:
  safetrip bench sidewalk.bundle
  safetrip bench sidewalk.bundle --backend all --precision all --json bench.json
  safetrip bench sidewalk.bundle --frame 720x1280 --frames 500 --threads 2"""

WARM_UP = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle")
    parser.add_argument("--json", metavar="OUT", help="write the figures; - is standard output")
    parser.add_argument("--frames", type=whole(1), default=100, metavar="N", help="default: 100")
    parser.add_argument(
        "--frame",
        type=frame_size,
        default=(1080, 1920),
        metavar="HEIGHTxWIDTH",
        help="of the camera's frames (default: 1080x1920)",
    )
    parser.add_argument("--source", metavar="URI", help="take the frames from here instead of making them up")
    add_runtime_options(parser)
    for action in parser._actions:
        if action.dest in ("backend", "precision") and action.choices is not None:
            action.choices = (*action.choices, "all")


def run(args: argparse.Namespace) -> int:
    """Measure each combination asked for and print a table; raises when none could run."""
    bundle = Bundle.open(args.bundle)
    frames = _frames(args)
    results: list[dict[str, Any]] = []
    refused: list[SafetripError] = []
    for backend, precision in _combinations(args, bundle):
        options = {**runtime_options(args), "backend": backend, "precision": precision}
        try:
            results.append(measure(bundle, frames, args.frames, options))
        except (BackendUnavailableError, EngineError) as error:
            refused.append(error)
            continue
        # Standard output is the JSON's where it was asked for there.
        table = sys.stderr if args.json == "-" else sys.stdout
        _print_row(results[-1], first=len(results) == 1, file=table)
    if not results:
        raise refused[0]
    for reason in refused:
        print(f"not measured: {reason}", file=sys.stderr)
    report = {"bundle": bundle.manifest.name, "safetrip": __version__, "device": describe_device()}
    write_json(args.json, {**report, "results": results, "not_measured": [str(error) for error in refused]})
    return 0


def _combinations(args: argparse.Namespace, bundle: Bundle) -> list[tuple[str, str]]:
    """What to measure: (backend, precision)."""
    backends = [args.backend]
    if args.backend == "all":
        backends = [name for name in BACKENDS if probe(name, args.device).available]
    precisions = list(bundle.manifest.precisions) if args.precision == "all" else [args.precision]
    return [(backend, precision) for backend in backends for precision in precisions]


def _frames(args: argparse.Namespace) -> list[Any]:
    """A few frames, so that no cache gets to know one by heart."""
    height, width = args.frame
    with open_source(args.source or f"synthetic://{width}x{height}?fps=0&frames=8") as source:
        assert source.frame_size is not None
        frames: list[Any] = []
        while len(frames) < 8:
            frame = np.empty((*source.frame_size, 3), np.uint8)
            if source.read_into(frame) is None:
                break
            frames.append(frame)
    return frames


def measure(bundle: Bundle, frames: list[Any], count: int, options: dict[str, Any]) -> dict[str, Any]:
    """Latency of calls and throughput of a stream, `count` frames each, with percentiles in milliseconds."""
    started = time.perf_counter()
    with Runtime(bundle, frame_size=frames[0].shape[:2], **options) as runtime:
        opened_s = time.perf_counter() - started
        for index in range(WARM_UP):
            runtime(frames[index % len(frames)])
        runtime.stats(reset=True)
        for index in range(count):
            runtime(frames[index % len(frames)])
        calls = runtime.stats(reset=True)
        for _ in runtime.stream((frames[index % len(frames)] for index in range(count)), "block"):
            pass
        stream = runtime.stats()
        backend = runtime.backend
        assert backend is not None
        return {
            "backend": backend.name,
            "device": backend.device,
            "precision": runtime.precision,
            "frame_size": list(frames[0].shape[:2]),
            "frames": count,
            "open_s": round(opened_s, 3),
            "latency_ms": {name: vars(item) for name, item in calls.stages.items()},
            "call_fps": calls.fps,
            "stream_fps": stream.fps,
        }


def _print_row(result: dict[str, Any], first: bool, file: TextIO) -> None:
    if first:
        columns = ("p50 ms", "p95 ms", "p99 ms", "fps")
        print(
            f"{'backend':13s} {'precision':9s} "
            + " ".join(f"{name:>8s}" for name in columns)
            + "  stream fps",
            file=file,
        )
    total = result["latency_ms"]["total"]
    print(
        f"{result['backend']:13s} {result['precision']:9s} {total['p50']:8.2f} {total['p95']:8.2f} "
        f"{total['p99']:8.2f} {result['call_fps']:8.1f}  {result['stream_fps']:.1f}",
        file=file,
    )
