"""`trainer pseudo-label`: the teacher labels the samples that have depth only."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from safetrip_sdk.cli.argument_types import fraction
from safetrip_trainer.cli.arguments import output_file, prepared_set, require_there, size
from safetrip_trainer.inference.processes import add_process_arguments

if TYPE_CHECKING:
    from safetrip_trainer.inference.pseudo_label import PseudoLabelReport

__all__ = ["EPILOG", "HELP", "configure", "run"]

HELP = "Write the teacher's labels and confidence for the samples that have depth only."
EPILOG = """\
examples:
  trainer pseudo-label runs/teacher/checkpoints/best.ckpt data/prepared
  trainer pseudo-label runs/teacher/checkpoints/best.ckpt data/prepared --overwrite   after training it on
  trainer pseudo-label runs/teacher/checkpoints/best.ckpt data/prepared --flip --devices 4

The files (8-bit PNG) go to PREPARED/pseudo, and whose they are to PREPARED/pseudo/teacher.json, which the
runs trained on them record. An interrupted call goes on where it stopped; `trainer fit` uses the labels above
data.pseudo_confidence."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "teacher",
        type=Path,
        help="checkpoint of `trainer fit`: configs/teacher.yaml, or another student",
    )
    parser.add_argument("prepared", type=prepared_set, help="what `trainer prepare` wrote")
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="HEIGHTxWIDTH",
        help="such as 288x512; default: as the teacher was trained",
    )
    parser.add_argument(
        "--threshold", type=fraction, default=0.7, help="confidence that the report counts (0.7)"
    )
    parser.add_argument(
        "--flip", action="store_true", help="average over the mirrored image, too: twice the time"
    )
    parser.add_argument("--overwrite", action="store_true", help="label again what is labelled")
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures there")
    add_process_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Labels and reports."""
    require_there(args.teacher, "checkpoint")
    from dataclasses import asdict

    from safetrip_trainer.data.files import write_json
    from safetrip_trainer.data.index import PreparedIndex

    index = PreparedIndex.load(args.prepared)
    from safetrip_trainer.inference.predictor import training_size
    from safetrip_trainer.inference.processes import launch
    from safetrip_trainer.inference.pseudo_label import PseudoLabelOptions, TeacherFile, pseudo_label
    from safetrip_trainer.model.load import load_segmenter

    teacher, record = load_segmenter(args.teacher)
    input_size = args.input_size or training_size(record)
    options = PseudoLabelOptions(input_size, args.flip, args.threshold, args.overwrite)
    fabric = launch(args)
    report = pseudo_label(teacher, TeacherFile.of(args.teacher), index, options, fabric)
    if fabric.global_rank:
        return
    print(_summary(report, args.threshold))
    if args.json:
        write_json(args.json, asdict(report))


def _summary(report: PseudoLabelReport, threshold: float) -> str:
    text = f"{report.written} images labelled"
    if report.written:
        text += f", {report.confident_share:.1%} of their pixels with a confidence above {threshold:g}"
    if report.kept:
        text += f"; {report.kept} had labels already (--overwrite: label them again)"
    return text
