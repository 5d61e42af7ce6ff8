"""`trainer calibrate X.bundle PREPARED --precision int8|fp16|mixed`."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "add FP16, INT8 or mixed precision to a bundle, from its FP32 model and real frames"
EPILOG = """\
examples:
  trainer calibrate sidewalk.bundle data/prepared --precision fp16,int8
  trainer calibrate sidewalk.bundle data/prepared --precision int8 --method entropy --count 1000

Methods: minmax, percentile:99.999, mse, entropy. The frames used and their hash go into the manifest.
Interrupted, the bundle is what it was.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", type=Path, metavar="X.bundle", help="holds fp32; of `trainer export`")
    parser.add_argument("prepared", type=Path, metavar="PREPARED", help="prepared set; of `trainer prepare`")
    parser.add_argument("--precision", default="int8", help="fp16, int8 or both as fp16,int8 (int8)")
    parser.add_argument("--method", default=None, help="how activations' ranges are chosen")
    parser.add_argument("--count", type=int, default=500, help="frames to use at most (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of frames (0)")
    parser.add_argument(
        "--split", default="train", help="part of the prepared set that frames come from (train)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was done to FILE")


def run(args: argparse.Namespace) -> int | None:
    """Calibrate and say what was made, what stayed in float, and why."""
    from safetrip_calibration.calibrate import DEFAULT_METHOD, calibrate
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.frames import PreparedFrames

    with bar() as progress:
        result = calibrate(
            args.bundle,
            PreparedFrames(args.prepared, args.split),
            precision=args.precision.split(","),
            method=args.method or DEFAULT_METHOD,
            count=args.count,
            seed=args.seed,
            progress=progress,
        )
    models = ", ".join(result.models.values())
    print(f"{args.bundle}: {models} from {result.frames} frames, {result.seconds:.1f} s")
    if result.quantised:
        print(f"INT8: {len(result.quantised)} nodes; in float:")
        for node, reason in sorted(result.skipped.items()):
            print(f"  {node}: {reason}")
    for node, reason in sorted(result.kept_fp32.items()):
        print(f"FP32: {node}: {reason}")
    if args.json:
        write_json(args.json, result.to_dict())
    return None
