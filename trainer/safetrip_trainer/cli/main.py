"""Dispatches `trainer VERB ...` to the verb's module.

A verb's module has `HELP` (one line), `EPILOG` (examples), `configure(parser)` and `run(args)`; `fit` and its
siblings are Lightning's CLI, which parses for itself.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from safetrip_sdk import __version__
from safetrip_sdk.cli.suggestions import SuggestingParser
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.termination import sigterm_raises

__all__ = ["main", "make_parser"]

# In the order of the chain.
_VERBS: dict[str, str] = {
    "synth": "generate a SafeTrip-Q tree of scenes with exact labels and depth",
    "prepare": "read a SafeTrip-Q tree: index, splits, class weights",
    "fit": "train the student or the teacher (Lightning's CLI)",
    "validate": "validate a checkpoint (Lightning's CLI)",
    "test": "test a checkpoint (Lightning's CLI)",
    "predict": "labels and depth of the validation samples as files (Lightning's CLI)",
    "model-size": "multiply-adds and parameters by width, decoder and input size",
    "replay": "compute a step again whose loss was no number",
    "pseudo-label": "let the teacher label the samples that have depth only",
    "evaluate": "accuracy of a checkpoint or a bundle",
    "infer": "labels and depth of images, or an annotated video",
    "export": "checkpoint to bundle: the deploy graph, checked against torch",
    "calibrate": "add FP16, INT8 or mixed precision to a bundle",
    "build": "build the bundle's engines for TensorRT or TensorRT-RTX",
    "compare": "every precision and backend against FP32",
    "budget": "hold a bundle against a latency and accuracy budget",
    "fix-checkpoint": "foreign key names to ours",
    "demo": "the whole chain on generated scenes",
}
_LIGHTNING = ("fit", "validate", "test", "predict")
_EPILOG = """\
The chain, from data to robot:
  trainer synth data/toy                           (or your own SafeTrip-Q tree)
  trainer prepare data/toy --out data/toy-prepared
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared
  trainer evaluate runs/hydranet/checkpoints/best.ckpt data/toy-prepared --json runs/eval.json
  trainer export runs/hydranet/checkpoints/best.ckpt --out sidewalk.bundle
  trainer calibrate sidewalk.bundle data/toy-prepared --precision int8
  trainer compare sidewalk.bundle data/toy-prepared --json runs/compare.json
  safetrip run sidewalk.bundle --source file://street.mp4 --video out.mp4

exit status: 0 done, 1 a gate failed, 2 bad input, 130 interrupted, 143 terminated
`trainer VERB --help` explains each."""


def _overview() -> argparse.ArgumentParser:
    parser = SuggestingParser(
        prog="trainer",
        description="SafeTrip's workstation: from annotated images to a bundle for the robot.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"trainer {__version__}")
    parser.elsewhere = {"train": "fit", "val": "evaluate", "detect": "infer", "benchmark": "budget"}
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in _VERBS.items():
        verbs.add_parser(verb, help=text, add_help=False)
    return parser


def _run_verb(verb: str, arguments: list[str]) -> int:
    if verb in _LIGHTNING:
        from safetrip_trainer.cli.lightning.run import run_lightning

        return run_lightning([verb, *arguments])
    parser, module = make_parser(verb)
    # Lightning has its own way for its verbs.
    with sigterm_raises(SystemExit(128 + signal.SIGTERM)):
        return int(module.run(parser.parse_args(arguments)) or 0)


def make_parser(verb: str) -> tuple[argparse.ArgumentParser, ModuleType]:
    """The parser of one of our own verbs, and the verb's module."""
    module = importlib.import_module(f"safetrip_trainer.cli.{verb.replace('-', '_')}")
    parser = SuggestingParser(
        prog=f"trainer {verb}",
        description=module.HELP,
        epilog=module.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    return parser, module


class _AboveBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Lines go above a progress bar that is being drawn, instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _quiet_third_parties() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_AboveBars()])
    for noisy in (
        "httpx",
        "httpcore",
        "urllib3",
        "fsspec",
        "matplotlib",
        "torch.onnx",
        "onnx_ir",
        "onnxscript",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: the words after `trainer`; the process's own by default.

    Returns:
        The exit status: 0 done, 1 a gate failed, 2 bad input, 130 interrupted, 143 terminated.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # Only the first word is parsed here; the verb's own parser takes the rest.
    verb = _overview().parse_args(words[:1]).verb
    _quiet_third_parties()
    try:
        return _run_verb(verb, words[1:])
    except SafetripError as error:
        print(f"trainer {verb}: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("safetrip"):
            raise
        advice = "the workstation needs the extra 'trainer': pip install '.[trainer]' in the checkout"
        print(f"trainer {verb}: error: {error.name} is not installed: {advice}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that cannot be made, a disk that is full: nothing that a traceback would explain better.
        print(f"trainer {verb}: error: {os.fsdecode(error.filename)}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"trainer {verb}: interrupted", file=sys.stderr)
        return 130
