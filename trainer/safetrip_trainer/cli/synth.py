"""`trainer synth OUT`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from safetrip_sdk.cli.argument_types import whole
from safetrip_sdk.video import CODECS

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "render a SafeTrip-Q tree of generated sidewalk scenes, with exact labels and depth"
EPILOG = """\
examples:
  trainer synth data/synth
  trainer synth data/small --scenes 200 --size 480x270 --seed 1
  trainer synth data/checked --scenes 24 --size 640x360 --truth
  trainer synth data/small --scenes 48 --size 480x270 --video data/walk.mp4

The same seed gives the same files. Three kinds of folders come out, 2:2:1: Surface, Polygon, Depth.
"""

log = logging.getLogger(__name__)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, like 1920x1080") from None
    if size[1] > size[0]:
        log.warning("%s is read as WIDTHxHEIGHT: higher than wide; did you mean %dx%d?", text, *size[::-1])
    return size


def _video(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in CODECS:
        raise argparse.ArgumentTypeError(f"{text}: no kind of video that can be written: {', '.join(CODECS)}")
    return path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; must not hold anything yet")
    parser.add_argument("--scenes", type=whole(1), default=120, help="images in all (120)")
    parser.add_argument(
        "--seed", type=whole(0), default=0, help="every other seed is another set of streets (0)"
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=(1920, 1080),
        metavar="WIDTHxHEIGHT",
        help="of the images (1920x1080); other verbs' sizes are HEIGHTxWIDTH",
    )
    parser.add_argument(
        "--frames-per-folder", type=whole(1), default=8, help="images of one walk at most (8)"
    )
    parser.add_argument("--workers", type=whole(1), default=None, help="processes (default: one per core)")
    parser.add_argument("--truth", action="store_true", help="add Truth/: full label maps and exact depth")
    parser.add_argument(
        "--video", type=_video, metavar="FILE", help="also film a walk that the tree does not hold"
    )
    parser.add_argument(
        "--video-frames", type=whole(1), default=90, help="length of the film at 15 images a second (90)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a generated tree at OUT")


def run(args: argparse.Namespace) -> None:
    """Render the tree and say what it holds."""
    from safetrip_trainer.synth.tree import SynthOptions, synthesize
    from safetrip_trainer.synth.video import write_video

    options = SynthOptions(
        scenes=args.scenes,
        seed=args.seed,
        size=args.size,
        frames_per_folder=args.frames_per_folder,
        workers=args.workers,
        truth=args.truth,
        overwrite=args.overwrite,
    )
    counts = synthesize(args.out, options)
    if args.video is not None:
        write_video(args.video, args.seed, args.video_frames, args.size)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{sum(counts.values())} images ({kinds}) -> {args.out}")
    if args.video is not None:
        print(f"{args.video_frames} frames of another walk -> {args.video}")
