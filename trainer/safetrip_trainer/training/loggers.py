"""Where a run's record goes: CSV and TensorBoard always, Weights & Biases by option."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.network import is_reachable

__all__ = ["build_loggers"]


def build_loggers(folder: Path, wandb: str = "off", project: str = "safetrip") -> list[Logger]:
    """The loggers of one run.

    Args:
        folder: the run's own.
        wandb: `off`, `online`, `offline`, or `auto`: offline where the network is closed.
        project: on Weights & Biases.

    Raises:
        TrainerError: Weights & Biases is asked for and not installed.
    """
    loggers: list[Logger] = [
        CSVLogger(folder.parent, name=folder.name, version=""),
        TensorBoardLogger(folder.parent, name=folder.name, version="", sub_dir="tensorboard"),
    ]
    if wandb != "off":
        loggers.append(_wandb_logger(folder, wandb, project))
    return loggers


def _wandb_logger(folder: Path, mode: str, project: str) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    offline = mode == "offline" or (mode == "auto" and not is_reachable("api.wandb.ai"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = WandbLogger(project=project, name=folder.name, save_dir=folder, offline=offline)
    except ModuleNotFoundError as error:
        raise TrainerError("--wandb needs Weights & Biases: pip install wandb") from error
    from wandb.errors import Error

    try:
        _ = made.experiment  # logs in: better now than after the data is prepared
    except Error as error:
        raise TrainerError(f"--wandb {mode}: {error}; or take --wandb offline") from error
    return made
