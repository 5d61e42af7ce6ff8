"""Which checkpoints a run keeps, and where."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

__all__ = ["best_checkpoint", "best_of", "last_checkpoint", "last_of"]

_FOLDER = "checkpoints"


def best_of(run: Path) -> Path:
    """Where a run's best checkpoint is, once an epoch was validated."""
    return run / _FOLDER / "best.ckpt"


def last_of(run: Path) -> Path:
    """Where the checkpoint is that a run goes on from."""
    return run / _FOLDER / "last.ckpt"


def best_checkpoint(folder: Path) -> ModelCheckpoint:
    """Keeps `best.ckpt` (highest val/score) and `last.ckpt` in the run's folder."""
    return ModelCheckpoint(
        dirpath=folder / _FOLDER,
        filename="best",
        monitor="val/score",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )


def last_checkpoint(folder: Path, steps: int) -> ModelCheckpoint:
    """Keeps `last.ckpt` in mid-epoch too, so that a kill costs at most so many steps."""
    return ModelCheckpoint(
        dirpath=folder / _FOLDER,
        filename="last",
        every_n_train_steps=steps,
        enable_version_counter=False,
    )
