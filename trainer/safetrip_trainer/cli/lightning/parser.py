"""What `trainer fit --help` and its siblings' teach beyond their options."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from enum import Enum
from typing import Any, NoReturn

import yaml
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

from safetrip_sdk.cli.suggestions import did_you_mean

__all__ = ["EXAMPLES", "ExamplesFormatter", "RunParser"]

_KEY = re.compile(r'Parser key "([\w.]+)":')
_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w.-]+)|Option '([\w.-]+)' is not accepted")
_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_SETTING = re.compile(r"(?<![\w/.-])(?:fit|validate|test|predict)\.(?=[a-z])")

EXAMPLES = {
    "fit": """\
examples:
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared
  trainer fit --config configs/hydranet.yaml --data.root data/toy          (a raw tree: prepared first)
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared --trainer.max_epochs 20 \\
      --data.size 288x512 --budget benchmarks/budgets/jetson-orin-nano-15w.yaml
  trainer fit --config configs/teacher.yaml --data.root data/toy-prepared --run-name teacher
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared --run-name distilled \\
      --model.init_args.distill.teacher_ckpt runs/teacher/checkpoints/best.ckpt
  trainer fit --config configs/quantize.yaml --data.root data/toy-prepared \\
      --ckpt_path runs/hydranet/checkpoints/best.ckpt                      (quantisation-aware)
  trainer fit --config runs/hydranet/config.yaml --ckpt_path runs/hydranet/checkpoints/last.ckpt   (go on)
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared --print_config
  torchrun --nproc-per-node 4 -m safetrip_trainer fit --config configs/hydranet.yaml ...

Leaves RUN_NAME under --out: checkpoints, metrics.csv, config.yaml, report.html, weights.safetensors.""",
    "validate": """\
examples:
  trainer validate --config runs/hydranet/config.yaml --ckpt_path runs/hydranet/checkpoints/best.ckpt
`trainer evaluate` says the same class by class, and takes bundles.""",
    "test": """\
examples:
  trainer test --config runs/hydranet/config.yaml --ckpt_path runs/hydranet/checkpoints/best.ckpt""",
    "predict": """\
examples:
  trainer predict --config runs/hydranet/config.yaml --ckpt_path runs/hydranet/checkpoints/best.ckpt
`trainer infer` takes images, folders and videos that belong to no tree.""",
}


# Settings go into config.yaml, and some of Lightning's own are an enum's members (Timer's interval).
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


class RunParser(LightningArgumentParser):
    """Its errors are as every verb's: one line, that names a setting as it is written on the command line
    (`--data.root`, not `fit.data.root`) and what a mistyped one may have meant.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # A setting that is cut short is a mistyped one, which the next version may take for another.
        super().__init__(*args, allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        verb = sys.argv[1]
        said = _SETTING.sub("--", _KEY.sub(r"--\1:", message))
        said = _TYPE.sub(r"\1", " ".join(said.split()))
        given = _UNKNOWN.search(said)
        if given:
            listed = self._option_string_actions if given[1] else ()
            said += did_you_mean(given[1] or given[2], [*listed, *_of_the_model()])
        self.exit(2, f"trainer {verb}: error: {said}; `trainer {verb} --help` tells each\n")


def _of_the_model() -> list[str]:
    """The student's settings, which the parser does not list: the model is itself one of its options."""
    from safetrip_trainer.training.student import HydraTask

    return [f"--model.init_args.{name}" for name in inspect.signature(HydraTask).parameters]


class ExamplesFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Types and defaults of every option, and the examples' lines as they stand."""
