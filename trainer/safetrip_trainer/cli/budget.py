"""`trainer budget X.bundle --budget FILE --json OUT`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import output_file

if TYPE_CHECKING:
    import numpy as np

    from safetrip_calibration.budget_file import Budget

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "hold a bundle against a latency, memory and accuracy budget on this machine"
EPILOG = """\
examples:
  trainer budget sidewalk.bundle --budget benchmarks/budgets/x86-cpu-2core.yaml --json runs/budget.json
  trainer budget sidewalk.bundle --budget my.yaml --frames-from data/prepared
  trainer budget sidewalk.bundle --budget benchmarks/budgets/jetson-orin-nano-15w.yaml --predict

Exit status 0 when every limit holds, 1 when one is crossed beyond measurement noise. --predict measures
nothing: it estimates each precision's latency on the budget's device by a roofline (benchmarks/devices/).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from safetrip_calibration.budget_file import FEWEST_FRAMES

    parser.add_argument("bundle", type=Path, metavar="X.bundle")
    parser.add_argument("--budget", type=Path, required=True, metavar="FILE", help="see benchmarks/budgets/")
    parser.add_argument(
        "--frames-from",
        metavar="PREPARED|URI",
        help="real frames, brought to the budget's frame size: a prepared set, images or a video "
        "(default: generated gradients)",
    )
    parser.add_argument(
        "--frames", type=whole(FEWEST_FRAMES), default=None, help="number to measure, instead of the budget's"
    )
    parser.add_argument("--predict", action="store_true", help="estimate for the budget's device instead")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures to FILE")


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the figures; 1 when a limit is crossed."""
    from safetrip_calibration.budget import run_budget
    from safetrip_calibration.budget_file import load_budget
    from safetrip_calibration.budget_table import budget_table
    from safetrip_trainer.data.files import write_json

    budget = load_budget(args.budget)
    if args.predict:
        return _predict(args, budget)
    images = _images(args.frames_from, budget.frame_size)
    result = run_budget(args.bundle, budget, images, args.frames, progress=print)
    print(budget_table(result))
    if args.json:
        write_json(args.json, result.to_dict())
    return 0 if result.passed else 1


def _predict(args: argparse.Namespace, budget: Budget) -> int:
    from safetrip_calibration.budget_file import load_budget_profile
    from safetrip_calibration.budget_table import prediction_table
    from safetrip_calibration.predict import predict_budget
    from safetrip_sdk.bundle import Bundle
    from safetrip_trainer.data.files import write_json

    result = predict_budget(Bundle.open(args.bundle), budget, load_budget_profile(args.budget, budget))
    print(prediction_table(result))
    if args.json:
        write_json(args.json, result.to_dict())
    return 0 if result.passed else 1


def _images(source: str | None, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames of a prepared set's validation split, or of anything that the SDK opens as a source."""
    from safetrip_calibration.images import frames_from, resized

    if source is None or not (Path(source) / "prepared.json").is_file():
        return frames_from(source, size)
    from safetrip_trainer.data.frames import PreparedFrames

    frames = PreparedFrames(source, "val")
    return resized((frames[index].frame for index in range(len(frames))), size)
