"""What `trainer fit --help` and its siblings' teach beyond their options."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

__all__ = ["EXAMPLES", "ExamplesFormatter", "RunParser"]

_SETTING = re.compile(r"(?<![\w/.-])(?:fit|validate|test|predict)\.(?=[a-z])")

EXAMPLES = {
    "fit": """\
examples:
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared
  trainer fit --config configs/hydranet.yaml --data.root data/toy          (a raw tree: prepared first)
  trainer fit --config configs/hydranet.yaml --data.root data/toy-prepared --trainer.max_epochs 20 \\
      --data.size '[288,512]' --budget benchmarks/budgets/jetson-orin-nano-15w.yaml
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


class RunParser(LightningArgumentParser):
    """Errors name a setting as it is written on the command line: `--data.root`, not `fit.data.root`."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(_SETTING.sub("--", message), ex)


class ExamplesFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Types and defaults of every option, and the examples' lines as they stand."""
