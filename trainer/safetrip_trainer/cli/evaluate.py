"""`trainer evaluate`: accuracy of a checkpoint or a bundle on a prepared split."""

from __future__ import annotations

import argparse

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import (
    add_predictor_arguments,
    output_file,
    output_folder,
    prepared_set,
    require_there,
)
from safetrip_trainer.inference.processes import add_process_arguments

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Measure segmentation and depth accuracy of a checkpoint (torch) or a bundle (the robot's Runtime)."
EPILOG = """\
examples:
  trainer evaluate runs/hydranet/checkpoints/best.ckpt data/prepared --json eval.json
  trainer evaluate sidewalk.bundle data/prepared --precision int8 --overlays runs/overlays
  trainer evaluate runs/hydranet/checkpoints/best.ckpt data/prepared --devices 4    four GPUs, the same table

mIoU is over the classes that occur in the split; depth is in metres over measured pixels up to 80 m."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_predictor_arguments(parser)
    parser.add_argument("prepared", type=prepared_set, help="what `trainer prepare` wrote")
    parser.add_argument("--split", choices=["train", "val", "all"], default="val", help="default val")
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write the figures there")
    parser.add_argument(
        "--overlays", type=output_folder, metavar="DIR", help="save overlays of some frames there"
    )
    parser.add_argument("--overlay-count", type=whole(1), default=8, metavar="N", help="how many (8)")
    parser.add_argument(
        "--min-confidence",
        type=whole(0, 255),
        default=255,
        metavar="C",
        help="depth pixels that count: 0-255 (255)",
    )
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates, prints the table, writes JSON and overlays."""
    require_there(args.source, "checkpoint or bundle")
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.frames import PreparedFrames

    frames = PreparedFrames(args.prepared, args.split, args.min_confidence)
    from safetrip_trainer.inference.evaluate import evaluate
    from safetrip_trainer.inference.overlays import OverlayWriter
    from safetrip_trainer.inference.predictor import open_predictor
    from safetrip_trainer.inference.processes import launch
    from safetrip_trainer.inference.table import accuracy_table

    writer = OverlayWriter(args.overlays, args.overlay_count, len(frames)) if args.overlays else None
    fabric = launch(args)
    place = (fabric.global_rank, fabric.world_size, fabric.device)
    with open_predictor(
        args.source, args.input_size, args.backend, args.precision, fabric.device
    ) as predictor:
        result = evaluate(predictor, frames, writer, *place)
    if fabric.global_rank:
        return
    result = {
        "source": str(args.source),
        "split": args.split,
        "data_hash": frames.prepared.data_hash,
        **result,
    }
    print(accuracy_table(result))
    if not result["depth"]["valid_pixels"] and any(sample.depth_file for sample in frames.samples):
        print(f"no depth of this split is as certain as --min-confidence {args.min_confidence}: none counted")
    if args.json:
        write_json(args.json, result)
