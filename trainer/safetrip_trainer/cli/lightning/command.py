"""`trainer fit`, `validate`, `test` and `predict`: Lightning's CLI with our loggers and checkpoints."""

from __future__ import annotations

import math
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from safetrip_trainer.cli.lightning.options import add_run_arguments
from safetrip_trainer.cli.progress import bar
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.export.bundle import require_exportable
from safetrip_trainer.model.checkpoint import WeightsFile, read_weights
from safetrip_trainer.quantize import QuantizedNet
from safetrip_trainer.settings import require_within
from safetrip_trainer.training.budget import require_budget
from safetrip_trainer.training.checkpoint_io import AtomicCheckpointIO
from safetrip_trainer.training.checkpoints import best_checkpoint, last_checkpoint, last_of
from safetrip_trainer.training.ema import WarmEMA
from safetrip_trainer.training.epoch_lines import EpochLines
from safetrip_trainer.training.guard import NonFiniteGuard
from safetrip_trainer.training.loggers import build_loggers
from safetrip_trainer.training.outcome import write_outcome
from safetrip_trainer.training.pictures import PredictionPictures
from safetrip_trainer.training.prediction_files import PredictionFiles
from safetrip_trainer.training.quantized import adopt_net, start_quantizing
from safetrip_trainer.training.resume import require_resumable, tell_differences
from safetrip_trainer.training.run_folder import (
    claim_run_folder,
    folder_of_checkpoint,
    hold_run_folder,
    set_metrics_aside,
)
from safetrip_trainer.training.student import HydraTask

__all__ = ["SafetripCLI"]

TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as a shell gives it."""


class SafetripCLI(LightningCLI):
    """A run's files go to OUT/RUN_NAME.

    config.yaml, metrics.csv, checkpoints/ and tensorboard/ while it goes on, predictions/ every few epochs,
    and at its end report.html and weights.safetensors.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        with ExitStack() as self._when_done:
            super().__init__(*args, **options)  # runs the verb

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_run_arguments(parser)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        config = self._get(self.config_init, "trainer", default={})
        folder = self._choose_folder()
        own_loggers = config.get("logger") in (None, True)
        if own_loggers and self.subcommand != "fit":
            kwargs["logger"] = False
        elif own_loggers:
            kwargs["logger"] = build_loggers(
                folder, self._get(self.config, "wandb", "off"), self._get(self.config, "project", "safetrip")
            )
        callbacks = _listed(config.get("callbacks"))
        if self.subcommand == "fit":
            callbacks += self._fit_callbacks(folder, bool(config.get("fast_dev_run")), own_loggers)
        if self.subcommand == "predict":
            callbacks.append(PredictionFiles(folder / "predictions" / "validation"))
        # Our own samplers know their rank: Lightning's would undo the balance.
        kwargs["plugins"] = [*_listed(config.get("plugins")), AtomicCheckpointIO()]
        kwargs.update(callbacks=callbacks, default_root_dir=str(folder), use_distributed_sampler=False)
        return super().instantiate_trainer(**kwargs)

    def _fit_callbacks(self, folder: Path, rehearsal: bool, own_loggers: bool) -> list[Callback]:
        callbacks: list[Callback] = [NonFiniteGuard(folder)]
        if not sys.stdout.isatty():
            callbacks.append(EpochLines())
        if not rehearsal:
            callbacks += self._recorders(folder)
            callbacks += [LearningRateMonitor(logging_interval="epoch")] if own_loggers else []
        if self._get(self.config, "ema"):
            # Last: what the others see at a validation's end is still the average.
            callbacks.append(WarmEMA(self._get(self.config, "ema")))
        return callbacks

    def _recorders(self, folder: Path) -> list[Callback]:
        """What leaves files in the run's folder."""
        recorders: list[Callback] = [
            last_checkpoint(folder, self._get(self.config, "save_every")),
            best_checkpoint(folder),
        ]
        every = self._get(self.config, "pictures_every")
        if every:
            recorders.append(PredictionPictures(folder, every))
        return recorders

    def _choose_folder(self) -> Path:
        """Of a new run, one of its own; of one that goes on, and of its predictions, the checkpoint's."""
        named = Path(self._get(self.config, "out")) / self._get(self.config, "run_name")
        checkpoint = None if self.starts_quantizing else self._get(self.config, "ckpt_path")
        own = folder_of_checkpoint(named, str(checkpoint)) if checkpoint else None
        self.run_folder = own or named
        if self.subcommand != "fit":
            # They print, and leave what the run has written: its settings and its curve are not theirs.
            self.save_config_callback = None
            return self.run_folder
        if own is None:
            self.run_folder = claim_run_folder(named)
            self._when_done.callback(_remove_empty, self.run_folder)
        self._when_done.enter_context(hold_run_folder(self.run_folder))
        if own is not None:
            set_metrics_aside(own)
        settings = self.config[self.subcommand]
        settings["run_name"] = self.run_folder.name
        if checkpoint:
            # What config.yaml starts is a new run; which checkpoint one goes on from is said each time.
            settings["ckpt_path"] = None
        return self.run_folder

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit as error:
            last = last_of(self.run_folder)
            if subcommand == "fit" and self.trainer.is_global_zero and last.is_file():
                print(f"to go on from here: --ckpt_path {last}", file=sys.stderr)
            # Lightning ends a run that is interrupted with status 1, and one that is terminated with 0.
            if isinstance(error, SIGTERMException):
                raise SystemExit(TERMINATED) from error
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise

    def after_fit(self) -> None:
        if self.trainer.is_global_zero:
            write_outcome(self.run_folder)

    def _parse_ckpt_path(self) -> None:
        # Lightning lets a checkpoint's hyper-parameters win over the configuration: right for a run that goes
        # on, wrong for one that only starts from its weights, by a recipe of its own.
        self.subcommand = self.config.get("subcommand")
        self._require_ranges()
        student = self._student_to_quantize()
        self.starts_quantizing = student is not None
        if student is not None:
            adopt_net(self._get(self.config, "model"), student)
            return
        checkpoint = self._get(self.config, "ckpt_path") if self.subcommand else None
        if not checkpoint:
            if self.subcommand != "fit":
                raise TrainerError("--ckpt_path is missing: without one the weights are random")
            return
        # Before anything of the run's folder is touched.
        require_resumable(
            str(checkpoint), averaging=self.subcommand != "fit" or bool(self._get(self.config, "ema"))
        )
        asked = self._get(self.config, "model").clone()
        super()._parse_ckpt_path()
        tell_differences(str(checkpoint), asked, self._get(self.config, "model"))

    def _require_ranges(self) -> None:
        """Of the settings that no class has, whose own this would be."""
        if not self.subcommand:
            return
        for option, least, most in (
            ("--seed_everything", 0, 2**32 - 1),
            ("--save-every", 1, math.inf),
            ("--pictures-every", 0, math.inf),
        ):
            value = self._get(self.config, option.removeprefix("--").replace("-", "_"))
            if value is not None:
                require_within(option, value, least, most)

    def before_predict(self) -> None:
        """They are written as they come, not gathered."""
        self.config_init["predict"]["return_predictions"] = False

    def before_fit(self) -> None:
        """What must be known, or made, before the first step."""
        if isinstance(self.model, HydraTask):
            # Known before the training rather than after it.
            require_exportable(self.datamodule.size)
        self.model.run_config = self._parser(self.subcommand).dump(self.config[self.subcommand])
        budget = self._get(self.config, "budget")
        if budget:
            refuse = self._get(self.config, "over_budget") == "refuse"
            trained = bool(self._get(self.config_init, "ckpt_path"))
            require_budget(self.model, self.datamodule.size, Path(budget), refuse, trained)
        if self.starts_quantizing:
            with bar() as progress:
                start_quantizing(
                    self.model,
                    Path(self._get(self.config, "ckpt_path")),
                    self.datamodule,
                    self._get(self.config, "quantize_method"),
                    progress,
                )
            # Not a run to go on with, but weights to start from.
            self.config_init[self.subcommand]["ckpt_path"] = None

    def _student_to_quantize(self) -> WeightsFile | None:
        """The student in float that --quantize starts from; a quantised one is resumed like any run."""
        if self.subcommand != "fit" or self._get(self.config, "quantize") != "int8":
            return None
        checkpoint = self._get(self.config, "ckpt_path")
        if not checkpoint:
            raise TrainerError(
                "--quantize int8 starts from a trained student: add --ckpt_path RUN/checkpoints/best.ckpt"
            )
        file = read_weights(Path(checkpoint))
        return None if QuantizedNet.is_in(file.state) else file


def _remove_empty(folder: Path) -> None:
    """A run that never began leaves no folder."""
    with suppress(OSError):
        folder.rmdir()


def _listed(given: Any) -> list[Any]:
    """What Lightning takes as one, as several or as none."""
    return list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
