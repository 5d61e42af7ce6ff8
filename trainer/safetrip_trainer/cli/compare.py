"""`trainer compare X.bundle PREPARED --json OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "every precision and backend present against FP32, on the same frames, judged by thresholds"
EPILOG = """\
examples:
  trainer compare sidewalk.bundle data/prepared --json runs/compare.json
  trainer compare sidewalk.bundle data/prepared --precisions int8 --backends openvino --count 50
  trainer compare sidewalk.bundle data/prepared --thresholds strict.yaml --out runs/compare

Figures and verdicts go into the bundle's manifest. Exit status 1 when a limit is crossed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", type=Path, metavar="X.bundle")
    parser.add_argument("prepared", type=Path, metavar="PREPARED", help="prepared set; of `trainer prepare`")
    parser.add_argument("--split", default="val", help="part of the prepared set (val)")
    parser.add_argument("--count", type=int, default=None, help="frames to use at most (all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of frames (0)")
    parser.add_argument("--precisions", type=_names, default=None, metavar="A,B", help="(all in the bundle)")
    parser.add_argument("--backends", type=_names, default=None, metavar="A,B", help="(all that run here)")
    parser.add_argument("--thresholds", type=Path, metavar="FILE", help="limits (the package's own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, write the figures; 1 when a limit is crossed."""
    from safetrip_calibration.compare import compare
    from safetrip_calibration.compare_table import comparison_table
    from safetrip_calibration.frames import select_frames
    from safetrip_calibration.thresholds import load_thresholds
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.frames import PreparedFrames

    frames = PreparedFrames(args.prepared, args.split)
    chosen = select_frames(frames, len(frames) if args.count is None else args.count, args.seed)
    thresholds = load_thresholds(args.thresholds)
    with bar() as progress:
        result = compare(args.bundle, chosen, args.precisions, args.backends, thresholds, progress)
    print(comparison_table(result))
    if args.json:
        write_json(args.json, result.to_dict())
    return 0 if result.accepted else 1
