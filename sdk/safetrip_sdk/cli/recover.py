"""`safetrip recover`: a recording that breaks off, made whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_sdk.cli.options import write_json

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "make a recording whole whose writer was killed"
EPILOG = """\
`safetrip run --source mcap://...` reads a recording that breaks off as it is; ros2 bag and Foxglove want the
index that its writer would have written at the end. The file itself is left alone.

exit status: 0 done; 2 bad input

examples:
  safetrip recover run.mcap --out whole.mcap
  safetrip recover run.mcap --out whole.mcap --json -"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("recording", help="an .mcap file")
    parser.add_argument("--out", required=True, metavar="OUT.mcap", help="the whole one; must not exist")
    parser.add_argument("--json", metavar="OUT", help="what was recovered; - is standard output")


def run(args: argparse.Namespace) -> int:
    """0 when the new file is there."""
    from safetrip_sdk.recording.container import recover_mcap

    messages = recover_mcap(Path(args.recording), Path(args.out))
    if args.json != "-":
        print(f"{args.out}: {messages} messages")
    write_json(args.json, {"file": args.out, "messages": messages})
    return 0
