"""`trainer replay`: a step whose loss was no number, once more."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_trainer.cli.arguments import output_file, require_there

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Compute a step again whose loss was NaN or infinite, and say in which sample, weight, layer or loss."
EPILOG = """\
examples:
  trainer replay runs/hydranet/nonfinite-step-1200.safetensors
  trainer replay runs/hydranet/nonfinite-step-1200.safetensors --json why.json

`trainer fit` writes the file when it stops for such a loss: the batch, the names of its samples, the
weights, the random state and the settings. It is computed on the CPU, in the run's precision."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="RUN/nonfinite-step-N.safetensors")
    parser.add_argument("--json", type=output_file, metavar="OUT", help="write what was found there")


def run(args: argparse.Namespace) -> None:
    """Replays and says what was found."""
    require_there(args.file, "file")
    from dataclasses import asdict

    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.training.replay import replay

    found = replay(args.file)
    print("\n".join(found.lines))
    if args.json:
        # NaN is no JSON: the losses as text.
        write_json(args.json, asdict(found) | {"losses": {k: str(v) for k, v in found.losses.items()}})
