"""`trainer compare X.bundle PREPARED --json OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import above_zero, names, output_file, output_folder, prepared_set

if TYPE_CHECKING:
    from safetrip_calibration.comparison import Comparison
    from safetrip_calibration.frames import SelectedFrames

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "every precision and backend present against FP32, on the same frames, judged by thresholds"
EPILOG = """\
examples:
  trainer compare sidewalk.bundle data/prepared --json runs/compare.json
  trainer compare sidewalk.bundle data/prepared --precision int8 --backend openvino --count 50
  trainer compare sidewalk.bundle data/prepared --thresholds strict.yaml --out runs/compare
  trainer compare sidewalk.bundle data/prepared --bisect int8 --tolerance 0.1
  polygraphy run sidewalk.bundle/model.int8.onnx --onnxrt --graph-optimization-level ORT_DISABLE_ALL \\
      --load-inputs runs/compare/inputs.json               replays what --out saved

Figures and verdicts go into the bundle's manifest, of what was compared: a precision that another backend
rejected before stays rejected until that one is compared again. Exit status 1 when a limit is crossed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", type=Path, metavar="X.bundle")
    parser.add_argument(
        "prepared", type=prepared_set, metavar="PREPARED", help="prepared set; of `trainer prepare`"
    )
    parser.add_argument("--split", default="val", help="part of the prepared set (val)")
    parser.add_argument("--count", type=whole(1), default=None, help="frames to use at most (all)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the choice of frames (0)")
    for name, which in (("precision", "all in the bundle"), ("backend", "all that run here")):
        parser.add_argument(
            f"--{name}", f"--{name}s", dest=f"{name}s", type=names, metavar="A,B", help=f"({which})"
        )
    parser.add_argument("--thresholds", type=Path, metavar="FILE", help="limits (the package's own)")
    parser.add_argument(
        "--out", type=output_folder, metavar="DIR", help="save worst frames and inputs to replay"
    )
    parser.add_argument(
        "--bisect",
        metavar="PRECISION",
        help="find the first tensor that leaves FP32 by more than --tolerance",
    )
    parser.add_argument("--tolerance", type=above_zero, default=0.1, help="relative error of a tensor (0.1)")
    parser.add_argument("--dry-run", action="store_true", help="leave the bundle's manifest as it is")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures to FILE")


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, write the figures; 1 when a limit is crossed."""
    from safetrip_calibration.compare import compare
    from safetrip_calibration.compare_table import comparison_table
    from safetrip_calibration.frames import select_frames
    from safetrip_calibration.thresholds import load_thresholds
    from safetrip_calibration.verdicts import record_verdicts
    from safetrip_sdk.errors import BundleError
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.frames import PreparedFrames

    frames = PreparedFrames(args.prepared, args.split)
    count = len(frames) if args.count is None else args.count
    chosen = select_frames(frames, count, args.seed, "comparison")
    if args.bisect:
        return _bisect(args, chosen)
    thresholds = load_thresholds(args.thresholds)
    with bar() as progress:
        result = compare(
            args.bundle, chosen, args.precisions, args.backends, thresholds, progress, write=False
        )
    refused: BundleError | None = None
    if not args.dry_run:
        try:
            result = record_verdicts(result)
        except BundleError as error:  # a full disk must not cost the figures
            refused = error
    print(comparison_table(result))
    if args.json:
        write_json(args.json, result.to_dict())
    if refused:
        raise refused
    if args.out:
        _save_evidence(args, chosen, result)
    return 0 if result.accepted else 1


def _save_evidence(args: argparse.Namespace, frames: SelectedFrames, result: Comparison) -> None:
    from safetrip_calibration.evidence import save_inputs, save_worst_frames

    for name, path in save_worst_frames(args.bundle, frames, result, args.out).items():
        print(f"worst frame of {name}: {path}")
    worst = {item.metrics["worst_frame"]["name"] for item in result.candidates}
    save_inputs(frames, [frames.names.index(name) for name in sorted(worst)], args.out / "inputs.json")
    print(f"inputs: {args.out / 'inputs.json'}")


def _bisect(args: argparse.Namespace, frames: SelectedFrames) -> int:
    from safetrip_calibration.bisect import divergences, first_divergence
    from safetrip_calibration.errors import CalibrationError
    from safetrip_calibration.graph import load
    from safetrip_sdk.bundle import Bundle
    from safetrip_trainer.data.files import write_json

    bundle = Bundle.open(args.bundle)
    there = bundle.manifest.precisions
    for name in ("fp32", args.bisect):
        if name not in there:
            raise CalibrationError(f"{args.bundle}: holds no {name} model; it has {', '.join(there)}")
    models = [load(bundle.read(there[name].file)) for name in ("fp32", args.bisect)]
    items = divergences(models[0], models[1], frames[0])
    for item in items:
        print(f"{item.error:10.2e}  {item.op_type:8s}  {item.node}")
    found = first_divergence(items, args.tolerance)
    if found is None:
        print(f"no tensor of {args.bisect} leaves FP32 by more than {args.tolerance:g}")
    else:
        print(
            f"first beyond {args.tolerance:g}: tensor {found.tensor}, made by {found.node}: {found.error:.3g}"
        )
    if args.json:
        write_json(args.json, [item.to_dict() for item in items])
    return 0
