"""What `trainer fit` and its siblings take besides Lightning's own options."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch.cli import LightningArgumentParser

from safetrip_calibration.calibrate import DEFAULT_METHOD

__all__ = ["add_run_arguments"]


def add_run_arguments(parser: LightningArgumentParser) -> None:
    """Where a run's files go and what it does besides training."""
    parser.add_argument("--out", type=str, default="runs", help="folder of all runs")
    parser.add_argument("--run-name", type=str, default="hydranet", help="folder of this run under OUT")
    parser.add_argument("--project", type=str, default="safetrip", help="project on Weights & Biases")
    parser.add_argument(
        "--wandb",
        type=Literal["off", "auto", "online", "offline"],
        default="off",
        help="log to Weights & Biases too; auto goes offline where the network is closed",
    )
    parser.add_argument(
        "--save-every",
        type=int,
        default=500,
        metavar="STEPS",
        help="write last.ckpt every so many steps, besides at each epoch's end (500)",
    )
    parser.add_argument(
        "--quantize",
        type=Literal["off", "int8"],
        default="off",
        help="int8: quantisation-aware training of the student that --ckpt_path names",
    )
    parser.add_argument(
        "--quantize-method",
        type=str,
        default=DEFAULT_METHOD,
        help=f"how --quantize chooses its first scales, as trainer calibrate does ({DEFAULT_METHOD})",
    )
    parser.add_argument(
        "--budget",
        type=str,
        default=None,
        metavar="FILE",
        help="refuse to train a net that is predicted to miss this budget (benchmarks/budgets/*.yaml)",
    )
    parser.add_argument(
        "--over-budget",
        type=Literal["refuse", "warn"],
        default="refuse",
        help="what to do with a net that misses --budget",
    )
    parser.add_argument(
        "--pictures-every",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="draw predictions of some validation frames every so many epochs and at the end (5; 0: off)",
    )
    parser.add_argument(
        "--ema", type=float, default=0.0, help="decay of averaged weights, such as 0.999 (0: off)"
    )
