"""The verbs' way into Lightning's CLI, and out of it: an exit status, or one of our errors."""

from __future__ import annotations

import sys
from textwrap import shorten

from lightning.fabric.utilities.exceptions import MisconfigurationException

from safetrip_sdk.errors import SafetripError
from safetrip_trainer.cli.lightning.command import SafetripCLI
from safetrip_trainer.cli.lightning.messages import quiet_lightning
from safetrip_trainer.cli.lightning.parser import EXAMPLES, ExamplesFormatter, RunParser
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.errors import CheckpointError, TrainerError
from safetrip_trainer.training.task import Task

__all__ = ["run_lightning"]


def run_lightning(arguments: list[str]) -> int:
    """`[fit|validate|test|predict, ...]` through Lightning's CLI; returns the exit status."""
    quiet_lightning()
    previous = sys.argv
    # Lightning's CLI reads the process's own words; `trainer demo` calls it from inside another verb. The
    # first word stays the program's path: DDP starts its other processes with it.
    sys.argv = [previous[0], *arguments]
    try:
        SafetripCLI(
            Task,
            SafetripDataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_class=RunParser,
            parser_kwargs={
                "prog": "trainer",
                "formatter_class": ExamplesFormatter,  # the verbs' parsers take it over
                **{verb: {"epilog": text} for verb, text in EXAMPLES.items()},
            },
        )
    except MisconfigurationException as error:
        raise TrainerError(" ".join(str(error).split())) from error
    except ValueError as error:
        # What a model's or a data module's constructor raises, jsonargparse wraps.
        if isinstance(error.__cause__, SafetripError):
            raise error.__cause__ from error
        raise
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        first = shorten(" ".join(str(error).splitlines()[:2]), 300, placeholder=" ...")
        raise CheckpointError(f"--ckpt_path holds other weights than the model has: {first}") from error
    finally:
        sys.argv = previous
    return 0
