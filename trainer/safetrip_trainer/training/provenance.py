"""What a run must be able to say of itself later: code, data, versions."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetrip_sdk import __version__

if TYPE_CHECKING:
    from safetrip_trainer.data.datamodule import SafetripDataModule

__all__ = ["provenance"]

_TOOLS = ("torch", "torchvision", "lightning", "transformers")


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    """Commit of the code that runs, `+changes` added where the work tree differs; None outside a checkout."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # one that merely lies around it is not ours
        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changes else "")


def _git(*words: str) -> str:
    command = ["git", *words]
    folder = Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def provenance(
    data: SafetripDataModule | None, start: str | None, before: Mapping[str, Any]
) -> dict[str, str | None]:
    """Versions, commit and data, as plain text that any checkpoint reader can load.

    Args:
        data: what is trained on. A teacher's labels are no part of its hash; that teacher's file has its own.
        start: where the first weights came from; None in a run that went on.
        before: of the checkpoint that the run went on from; empty in a new one.
    """
    hashes = [*(before.get("data_hash_before") or "").split(), before.get("data_hash")]
    own = None if data is None else data.index.data_hash
    others = dict.fromkeys(value for value in hashes if value and value != own)
    return {
        "git_commit": _git_commit(),
        "data_hash": own,
        "data_hash_before": " ".join(others) or None,
        "pseudo_labels_by": None if data is None else data.pseudo_labels_by,
        "start": before.get("start") or start,
        "safetrip": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _TOOLS},
    }
