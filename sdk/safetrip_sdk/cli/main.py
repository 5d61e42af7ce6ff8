"""Dispatches `safetrip VERB ...` to the verb's module.

A verb's module has `HELP` (one line), `EPILOG` (examples), `configure(parser)` and `run(args)`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from safetrip_sdk._version import __version__
from safetrip_sdk.cli.options import check_output
from safetrip_sdk.cli.suggestions import SuggestingParser
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.termination import sigterm_raises

__all__ = ["main", "make_parser"]

VERBS = ("run", "bench", "info", "build", "layers", "doctor", "recover", "completion")

_EPILOG = """\
examples:
  safetrip doctor
  safetrip run sidewalk.bundle --source street.mp4 --json out.jsonl --video out.mp4
  safetrip run sidewalk.bundle --source 0 --view
  safetrip bench sidewalk.bundle --json bench.json
  source <(safetrip completion bash)

exit status: 0 done, 1 a check failed, 2 bad input or no backend, 130 interrupted
`safetrip VERB --help` explains each."""


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    """The parser of the whole command, and each verb's module."""
    parser = SuggestingParser(
        prog="safetrip",
        description="SafeTrip on the robot: camera frames to surfaces, obstacles and metric depth.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"safetrip {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    modules = {}
    for verb in VERBS:
        module = importlib.import_module(f"safetrip_sdk.cli.{verb}")
        child = verbs.add_parser(
            verb,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.add_argument("-v", "--verbose", action="count", default=0, help="log more (-vv: everything)")
        module.configure(child)
        modules[verb] = module
    return parser, modules


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    parser, modules = make_parser()
    args = parser.parse_args(argv)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # OpenCV warns of each way in which it cannot open a source; our own message says it once.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        with sigterm_raises(KeyboardInterrupt()):
            for option in ("json", "stats", "video", "record"):
                check_output(getattr(args, option, None))
            return int(modules[args.verb].run(args) or 0)
    except SafetripError as error:
        print(f"safetrip {args.verb}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"safetrip {args.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong; keep the last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"safetrip {args.verb}: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"safetrip {args.verb}: error: not enough memory: {error}", file=sys.stderr)
        return 2
