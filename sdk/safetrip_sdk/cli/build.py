"""`safetrip build`: engines for this device, into the bundle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from safetrip_sdk import engines
from safetrip_sdk.backends import probe
from safetrip_sdk.cli.argument_types import frame_size, whole
from safetrip_sdk.cli.options import write_json
from safetrip_sdk.errors import BackendUnavailableError
from safetrip_sdk.manifest import PRECISIONS

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "build the bundle's engines for this device"
EPILOG = """\
TensorRT builds for the GPU it runs on; TensorRT for RTX builds without one, for every GPU it supports.

exit status: 0 built; 2 bad input, no library to build with, or the builder refused; 130 interrupted

examples:
  safetrip build sidewalk.bundle
  safetrip build sidewalk.bundle --frame 720x1280 --precision int8
  safetrip build sidewalk.bundle --target rtx --compute-capability SM89"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bundle", help="path of a bundle")
    parser.add_argument(
        "--target", choices=("auto", *engines.TARGETS), default="auto", help="default: what is here"
    )
    parser.add_argument(
        "--frame",
        type=frame_size,
        default=(1080, 1920),
        metavar="HEIGHTxWIDTH",
        help="of the camera's frames (default: 1080x1920)",
    )
    parser.add_argument(
        "--precision",
        action="append",
        choices=PRECISIONS,
        help="may be repeated (default: all that were accepted)",
    )
    parser.add_argument(
        "--compute-capability", action="append", default=[], metavar="SM", help="RTX alone; repeatable"
    )
    parser.add_argument("--device", type=whole(0), default=0, help="index of the GPU (default: 0)")
    parser.add_argument("--json", metavar="OUT", help="write what was built; - is standard output")


def run(args: argparse.Namespace) -> int:
    """Build; 0, or an error that says what to install."""
    target = _choose(args.device) if args.target == "auto" else args.target
    built = engines.build(
        args.bundle,
        target,
        args.frame,
        args.precision,
        compute_capabilities=args.compute_capability,
        device=args.device,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    for info in built:
        print(info.file, file=sys.stderr if args.json == "-" else sys.stdout)
    write_json(args.json, [{"file": info.file, **asdict(info)} for info in built])
    return 0


def _choose(device: int) -> str:
    """The target whose library has a GPU here."""
    reasons = []
    for target, backend in (("tensorrt", "tensorrt"), ("rtx", "tensorrt_rtx")):
        found = probe(backend, device)
        if found.available:
            return target
        reasons.append(f"\n  {found.reason}")
    raise BackendUnavailableError(
        f"no GPU library can run here; name a --target to build for elsewhere:{''.join(reasons)}"
    )
