"""`trainer demo`: the whole chain on generated scenes."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import output_folder

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Walk the whole chain, data to robot, on generated scenes; ends with a bundle, a report and a video."
EPILOG = """\
examples:
  trainer demo
  trainer demo --out runs/quick --scenes 48 --epochs 1 --teacher-epochs 1     seconds instead of minutes

Every step prints the command that a user would type. Exit status 1: the net has not learnt, or a gate
failed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--out", type=output_folder, default=Path("runs/demo"), help="folder (runs/demo); replaced"
    )
    parser.add_argument("--scenes", type=whole(1), default=208, help="scenes to generate (208)")
    parser.add_argument("--epochs", type=whole(1), default=12, help="of the student (12)")
    parser.add_argument("--teacher-epochs", type=whole(1), default=3, help="of the teacher (3)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of scenes and training (0)")


def run(args: argparse.Namespace) -> int:
    """Runs the chain."""
    from safetrip_trainer.demo import DemoPlan, run_demo

    return run_demo(DemoPlan(args.out, args.scenes, args.epochs, args.teacher_epochs, args.seed))
