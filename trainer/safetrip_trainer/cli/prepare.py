"""`trainer prepare DATA --out PREPARED`."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_sdk.cli.argument_types import fraction, whole
from safetrip_trainer.cli.arguments import names, output_file, size

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "check a SafeTrip-Q tree, rasterise its polygons, split it by folder, count its classes"
EPILOG = """\
examples:
  trainer prepare data/SafeTrip-Q --out data/prepared
  trainer prepare data/street --out data/street-prepared --val-folders 012,013,014
  trainer prepare data/SafeTrip-Q --out data/prepared --val-fraction 0.2 --seed 1 --json prepare.json
  trainer prepare data/SafeTrip-Q --out data/prepared --cache-size 1024x1024
  trainer prepare data/SafeTrip-Q --out data/prepared --cache s3://bucket/safetrip

Training reads the cache: images decoded at 1/2, 1/4 or 1/8 where that still covers --cache-size, no side
longer than 5/4 of it, with their masks and depth, in WebDataset shards. 1920x1080 becomes 640x540 by default,
1280x1080 with 1024x1024 (sharper in the strongest zoom, slower to read). 40,000 images of 640x540 take 21 GB;
with --cache-codec jpeg 4 to 8 GB, and half as much time again to read, or more. docs/data.md tells more.

A second call does only what has changed. What cannot be used is listed in PREPARED/problems.json.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder that holds Surface/, Polygon/ and Depth/"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PREPARED", help="where the index and masks go"
    )
    parser.add_argument(
        "--val-folders",
        type=names,
        default=(),
        metavar="A,B",
        help="validate on these: Surface_012, Surface/Surface_012, or a number (012: in every source)",
    )
    parser.add_argument(
        "--val-fraction", type=fraction, default=0.2, help="share of each source's folders (0.2)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="draws the validation folders (0)")
    parser.add_argument("--workers", type=whole(1), default=None, help="processes (default: one per core)")
    parser.add_argument(
        "--cache-size",
        type=size,
        default=(512, 512),
        metavar="HEIGHTxWIDTH",
        help="the cache's images are at least so large, such as 288x512, unless their originals are smaller "
        "(512x512)",
    )
    parser.add_argument(
        "--cache",
        default=None,
        metavar="PLACE",
        help="where the cache goes: a folder or a URL such as s3://bucket/folder (default: PREPARED/cache)",
    )
    parser.add_argument(
        "--cache-codec",
        choices=("auto", "raw", "jpeg"),
        default="auto",
        help="how it keeps images: raw (faster), jpeg (a third or less of the size), or auto: raw in a "
        "folder, jpeg at a URL (auto)",
    )
    parser.add_argument("--no-cache", action="store_true", help="write none: training then reads the tree")
    parser.add_argument(
        "--json", type=output_file, default=None, metavar="FILE", help="write the figures to FILE"
    )


def run(args: argparse.Namespace) -> None:
    """Prepare, print the summary, write the figures."""
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.prepare import PrepareOptions, prepare
    from safetrip_trainer.data.report import print_report, report_figures

    options = PrepareOptions(
        args.val_folders,
        args.val_fraction,
        args.seed,
        args.workers,
        cache_size=None if args.no_cache else args.cache_size,
        cache=args.cache,
        cache_codec=args.cache_codec,
    )
    report = prepare(args.data, args.out, options)
    print_report(report)
    if args.json is not None:
        write_json(args.json, report_figures(report))
