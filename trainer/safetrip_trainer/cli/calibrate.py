"""`trainer calibrate X.bundle PREPARED --precision int8|fp16|mixed`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safetrip_sdk.cli.argument_types import whole
from safetrip_trainer.cli.arguments import output_file, prepared_set

_NO_BETTER = "; NO BETTER: fitted on too few frames, or on others than these; fit again on more"

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "add FP16, INT8 or mixed precision to a bundle, or make its confidence true, from real frames"
EPILOG = """\
examples:
  trainer calibrate sidewalk.bundle data/prepared --precision fp16,int8
  trainer calibrate sidewalk.bundle data/prepared --precision int8 --method entropy --count 1000
  trainer calibrate sidewalk.bundle data/prepared --precision mixed --budget benchmarks/budgets/h100.yaml
  trainer calibrate sidewalk.bundle data/prepared --confidence

Methods: minmax, percentile:99.999, mse, entropy. The frames used and their hash go into the manifest.
Interrupted, the bundle is what it was.

mixed tries each block of the net alone in INT8, then searches the cheapest assignment of INT8 and FP16 that
keeps the accuracy limits and the budget's p50, predicted for the budget's device. Report and plot go into
X.bundle.cache/. Exit status 1 when no assignment keeps both. Once `trainer compare` has accepted the mixture,
the robot takes it by itself where INT8 was rejected.

--confidence fits the softmax's temperature of every precision in the bundle on half of the validation frames,
writes it into the graphs and prints the expected calibration error on the other half, before and after.
Precisions that are calibrated later start from FP32's temperature.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", type=Path, metavar="X.bundle", help="holds fp32; of `trainer export`")
    parser.add_argument(
        "prepared", type=prepared_set, metavar="PREPARED", help="prepared set; of `trainer prepare`"
    )
    parser.add_argument(
        "--precision",
        type=_names,
        metavar="P",
        help="fp16, int8, both as fp16,int8, or mixed (int8, unless --confidence stands alone)",
    )
    parser.add_argument(
        "--confidence", action="store_true", help="fit the confidence of all precisions, after --precision"
    )
    parser.add_argument("--method", default=None, help="how activations' ranges are chosen")
    parser.add_argument("--count", type=whole(1), default=500, help="frames to use at most (500)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the choice of frames (0)")
    parser.add_argument(
        "--split", default="train", help="part of the prepared set that frames come from (train)"
    )
    mixed = parser.add_argument_group("mixed")
    mixed.add_argument(
        "--budget",
        type=Path,
        default=Path("benchmarks/budgets/jetson-orin-nano-15w.yaml"),
        metavar="FILE",
        help="device, frame size and p50 (%(default)s); its profile is read from ../devices beside it",
    )
    mixed.add_argument("--thresholds", type=Path, metavar="FILE", help="accuracy limits (the package's own)")
    mixed.add_argument(
        "--judge-split",
        default="val",
        help="part that trials are judged, and --confidence is fitted on (val)",
    )
    mixed.add_argument("--judge-count", type=whole(1), default=48, help="frames that they are judged on (48)")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write what was done to FILE")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def run(args: argparse.Namespace) -> int:
    """Calibrate and say what was made, what stayed in float, and why."""
    from safetrip_calibration.confidence import require_labels
    from safetrip_calibration.errors import CalibrationError
    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.frames import PreparedFrames

    status = 0
    record: dict[str, Any] = {}
    precisions = args.precision or (() if args.confidence else ("int8",))
    unknown = [name for name in precisions if name not in ("fp16", "int8", "mixed")]
    if unknown:
        raise CalibrationError(f"--precision {unknown[0]}: want fp16, int8, both (fp16,int8), or mixed")
    if "mixed" in precisions and len(precisions) > 1:
        raise CalibrationError("--precision mixed stands alone: it finds its own mixture of the others")
    if precisions and args.confidence:
        require_labels(args.bundle, PreparedFrames(args.prepared, args.judge_split))
    if "mixed" in precisions:
        status, record = _run_mixed(args)
    elif precisions:
        record = _run_plain(args, precisions)
    if args.confidence:
        record = {**record, "confidence": _run_confidence(args)}
    if args.json:
        write_json(args.json, record)
    return status


def _run_confidence(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from safetrip_calibration.confidence import calibrate_confidence
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.frames import PreparedFrames

    frames = PreparedFrames(args.prepared, args.judge_split)
    with bar() as progress:
        results = calibrate_confidence(args.bundle, frames, args.count, args.seed, progress)
    for name, result in results.items():
        print(
            f"{name}: temperature {result.temperature:.3f}, expected calibration error "
            f"{result.ece_before:.1%} before, {result.ece_after:.1%} after (on {result.measured_on} others)"
            f"{_NO_BETTER if result.ece_after > result.ece_before else ''}"
        )
    return {name: asdict(result) for name, result in results.items()}


def _run_plain(args: argparse.Namespace, precisions: tuple[str, ...]) -> dict[str, Any]:
    from safetrip_calibration.calibrate import DEFAULT_METHOD, calibrate
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.frames import PreparedFrames

    with bar() as progress:
        result = calibrate(
            args.bundle,
            PreparedFrames(args.prepared, args.split),
            precision=precisions,
            method=args.method or DEFAULT_METHOD,
            count=args.count,
            seed=args.seed,
            progress=progress,
        )
    models = ", ".join(result.models.values())
    print(f"{args.bundle}: {models} from {result.frames} frames, {result.seconds:.1f} s")
    if result.quantised:
        print(f"INT8: {len(result.quantised)} nodes; in float:")
        for node, reason in sorted(result.skipped.items()):
            print(f"  {node}: {reason}")
    for node, reason in sorted(result.kept_fp32.items()):
        print(f"FP32: {node}: {reason}")
    return result.to_dict()


def _run_mixed(args: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    from safetrip_calibration.budget_file import load_budget, load_budget_profile
    from safetrip_calibration.calibrate import DEFAULT_METHOD
    from safetrip_calibration.errors import CalibrationError
    from safetrip_calibration.mixed import MixedOptions, calibrate_mixed
    from safetrip_calibration.thresholds import load_thresholds
    from safetrip_trainer.cli.progress import bar
    from safetrip_trainer.data.files import read_json
    from safetrip_trainer.data.frames import PreparedFrames

    if not args.budget.is_file():
        raise CalibrationError(f"{args.budget}: no such file; name the device's budget with --budget FILE")
    budget = load_budget(args.budget)
    options = MixedOptions(
        profile=load_budget_profile(args.budget, budget),
        frame_size=budget.frame_size,
        latency_ms=budget.latency_ms.get("p50"),
        thresholds=load_thresholds(args.thresholds),
        evaluation_count=args.judge_count,
        method=args.method or DEFAULT_METHOD,
        count=args.count,
        seed=args.seed,
    )
    calibration = PreparedFrames(args.prepared, args.split)
    judged = PreparedFrames(args.prepared, args.judge_split)
    with bar("step") as progress:
        result = calibrate_mixed(args.bundle, calibration, judged, options, progress)
    print(result.message)
    print(f"report: {result.report}, {result.report.with_suffix('.png')}")
    return (0 if result.feasible else 1), read_json(result.report)
