"""Whose folder is whose: a new run's is made for it alone, a resumed run goes on in its own."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from safetrip_trainer.errors import TrainerError
from safetrip_trainer.training.resume import is_word

__all__ = [
    "claim_run_folder",
    "folder_of_checkpoint",
    "hold_run_folder",
    "restore_metrics",
    "set_metrics_aside",
]

logger = logging.getLogger(__name__)

_held: set[int] = set()
"""Descriptors of the folders that this process holds."""


def claim_run_folder(folder: Path) -> Path:
    """Makes a new run's folder: `folder`, or the first of `folder-2`, `folder-3`, ... that is not there.

    Making it is the claim: of two runs that start at once each gets its own. Of several processes of one run
    the first decides; the others write where it tells them.
    """
    if not _is_first_process():
        return folder
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    if candidate != folder:
        logger.info("%s is there already: this run goes to %s", folder, candidate)
    return candidate


@contextmanager
def hold_run_folder(folder: Path) -> Iterator[None]:
    """Keeps every other process from training into `folder`; it is free again once this one ends, however.

    Raises:
        TrainerError: another one holds it.
    """
    if not _is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainerError(
                f"{folder}: another process is training into it; wait for its end, or give another --run-name"
            ) from error
        except OSError as error:
            logger.info("%s: cannot be held against a second run (%s)", folder, error.strerror)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    """In a forked child: a loader's worker that outlives a killed run must not hold its folder."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def folder_of_checkpoint(folder: Path, checkpoint: str) -> Path | None:
    """The run that a checkpoint is of, where it is one of this name: `folder` or `folder-N`; else None.

    Args:
        folder: OUT/RUN_NAME.
        checkpoint: a path or an address; Lightning's own words are looked up in `folder`.
    """
    if is_word(checkpoint):
        return folder
    place = Path(os.path.abspath(checkpoint)).parent
    own, of_this_name = place.parent, rf"{re.escape(folder.name)}(-\d+)?"
    if place.name != "checkpoints" or not re.fullmatch(of_this_name, own.name):
        return None
    return folder.with_name(own.name) if own.parent.resolve() == folder.parent.resolve() else None


def set_metrics_aside(folder: Path) -> None:
    """A run that goes on writes its metrics anew; those it had written stay, under another name."""
    metrics = folder / "metrics.csv"
    if not _is_first_process() or not metrics.exists():
        return
    kept = (folder / f"metrics.before-resume-{number}.csv" for number in count(1))
    metrics.rename(next(path for path in kept if not path.exists()))


def restore_metrics(folder: Path) -> None:
    """Takes back what `set_metrics_aside` kept, where a resumed run had nothing left to do."""
    kept = sorted(folder.glob("metrics.before-resume-*.csv"), key=lambda file: int(file.stem.split("-")[-1]))
    if kept and not (folder / "metrics.csv").exists():
        kept[-1].rename(folder / "metrics.csv")


def _is_first_process() -> bool:
    return all(
        os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")
    )
