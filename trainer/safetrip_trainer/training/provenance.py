"""What a run must be able to say of itself later: code, data, versions."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["provenance"]

_TOOLS = ("torch", "torchvision", "lightning", "transformers")


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    """Commit of the code that runs, `+changes` added where the work tree differs; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changes else "")


def provenance(data_hash: str | None) -> dict[str, str | None]:
    """Versions, commit and data hash, as plain text that any checkpoint reader can load."""
    return {
        "git_commit": _git_commit(),
        "data_hash": data_hash,
        "python": platform.python_version(),
        **{name: version(name) for name in _TOOLS},
    }
