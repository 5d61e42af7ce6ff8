"""Where a run's record goes: CSV and TensorBoard always, Weights & Biases by option."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.network import is_reachable

__all__ = ["build_loggers", "claim_run_folder", "restore_metrics"]

logger = logging.getLogger(__name__)


def claim_run_folder(folder: Path, resume: bool) -> Path:
    """The folder a run may write to: never one that holds another run's checkpoints or metrics.

    A resumed run goes on in its folder; the metrics it had written stay, under another name. Of several
    processes the first decides; the others write nothing.
    """
    if not _is_first_process():
        return folder
    if resume:
        _keep(folder / "metrics.csv")
        return folder
    candidate, number = folder, 1
    while (candidate / "metrics.csv").exists() or (candidate / "checkpoints").exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    if candidate != folder:
        logger.info("%s holds an earlier run: this one goes to %s", folder, candidate)
    return candidate


def restore_metrics(folder: Path) -> None:
    """Takes back what `claim_run_folder` put aside, where a resumed run had nothing left to do."""
    kept = sorted(folder.glob("metrics.before-resume-*.csv"), key=lambda file: int(file.stem.split("-")[-1]))
    if kept and not (folder / "metrics.csv").exists():
        kept[-1].rename(folder / "metrics.csv")


def _is_first_process() -> bool:
    return all(
        os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")
    )


def _keep(metrics: Path) -> None:
    number = 1
    while (kept := metrics.with_name(f"metrics.before-resume-{number}.csv")).exists():
        number += 1
    if metrics.exists():
        metrics.rename(kept)


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
        raise TrainerError("--wandb needs Weights & Biases: pip install 'safetrip[wandb]'") from error
    from wandb.errors import Error

    try:
        _ = made.experiment  # logs in: better now than after the data is prepared
    except Error as error:
        raise TrainerError(f"--wandb {mode}: {error}; or take --wandb offline") from error
    return made
