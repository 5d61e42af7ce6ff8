"""`trainer build X.bundle --target rtx|tensorrt [--frame 1080x1920]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_trainer.cli.arguments import names, output_file, size

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "build an engine from every precision in a bundle, for TensorRT or TensorRT for RTX"
EPILOG = """\
examples:
  trainer build sidewalk.bundle --target rtx                  needs no GPU
  trainer build sidewalk.bundle --target rtx --compute-capabilities SM86,SM89      runs on these alone
  trainer build sidewalk.bundle --target tensorrt --frame 1080x1920                on the robot, or its like

Frames are HEIGHTxWIDTH. An engine is tied to library, GPU and frame size; `safetrip build` makes one on the
robot itself.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", type=Path, metavar="X.bundle")
    parser.add_argument("--target", required=True, choices=("rtx", "tensorrt"))
    parser.add_argument(
        "--frame",
        type=size,
        default=(1080, 1920),
        metavar="HEIGHTxWIDTH",
        help="of the camera's frames (1080x1920)",
    )
    parser.add_argument(
        "--precision",
        "--precisions",
        dest="precisions",
        type=names,
        default=None,
        metavar="A,B",
        help="(all in the bundle)",
    )
    parser.add_argument(
        "--compute-capabilities", type=names, default=(), metavar="SM86,SM89", help="rtx: (all it supports)"
    )
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write what was built to FILE")


def run(args: argparse.Namespace) -> None:
    """Build, and say what came out."""
    from dataclasses import asdict

    from safetrip_sdk.bundle import Bundle
    from safetrip_sdk.engines import build
    from safetrip_trainer.data.files import write_json

    # Asked for by name, a precision that the comparison rejected is built too.
    precisions = args.precisions or list(Bundle.open(args.bundle).manifest.precisions)
    built = build(
        args.bundle,
        args.target,
        args.frame,
        precisions,
        compute_capabilities=args.compute_capabilities,
        progress=print,
    )
    files = Bundle.open(args.bundle).manifest.files
    for info in built:
        print(f"{info.file}: {files[info.file].size / 1e6:.1f} MB, {info.seconds:.1f} s")
    if args.json:
        write_json(args.json, [{**asdict(info), "size": files[info.file].size} for info in built])
