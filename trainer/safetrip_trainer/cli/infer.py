"""`trainer infer`: look at what a checkpoint or a bundle says."""

from __future__ import annotations

import argparse

from safetrip_trainer.cli.arguments import add_predictor_arguments, output_folder, require_there

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Predict images: overlays, class ids (8-bit PNG), depth (16-bit PNG, mm); of a video an annotated one."
EPILOG = """\
examples:
  trainer infer runs/hydranet/checkpoints/best.ckpt photo.jpg --out runs/infer
  trainer infer sidewalk.bundle street.mp4 --out runs/infer --backend openvino"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_predictor_arguments(parser)
    parser.add_argument("image", metavar="IMAGE", help="image, folder, glob or video")
    parser.add_argument("--out", type=output_folder, required=True, metavar="DIR", help="folder to write to")


def run(args: argparse.Namespace) -> None:
    """Predicts and says how much."""
    require_there(args.source, "checkpoint or bundle")
    from safetrip_sdk.sources import open_source

    with open_source(args.image):
        pass  # known to be there before torch, which takes seconds, is imported
    from safetrip_trainer.inference.infer import infer
    from safetrip_trainer.inference.predictor import open_predictor

    with open_predictor(args.source, args.input_size, args.backend, args.precision) as predictor:
        count = infer(predictor, args.image, args.out)
    print(f"{count} frames -> {args.out}")
