"""One unit of `prepare`'s work, and what comes of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from safetrip_trainer.data.cache import CacheSpec, Shard
from safetrip_trainer.data.folder import Folder
from safetrip_trainer.data.index import UNITS_FOLDER, Sample
from safetrip_trainer.data.problems import Problem
from safetrip_trainer.errors import DatasetError

__all__ = ["Unit", "UnitResult", "content_digest"]


@dataclass(frozen=True)
class Unit:
    """The `number`-th part of a folder: `names` of it, read below `root`, written below `prepared`.

    `cache`: where its samples also go, reduced for training; None: nowhere. `rivals`: images of the folder
    that would be one sample with another, whichever unit that is in.
    """

    root: Path
    prepared: Path
    folder: Folder
    number: int
    names: tuple[str, ...]
    cache: CacheSpec | None = None
    rivals: tuple[str, ...] = ()

    @property
    def record(self) -> Path:
        """Where the unit's result is kept."""
        return self.prepared / UNITS_FOLDER / self.folder.path / f"{self.number:04d}.json"


@dataclass
class UnitResult:
    """Usable samples (their split still empty), problems, counts of what was dropped by design, and the
    cache's shard.
    """

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    shard: Shard | None = None
    reused: bool = False

    def report(self, path: str, error: DatasetError | str, root: Path) -> None:
        """Add a problem; an error's own mention of the path is not said twice."""
        self.problems.append(Problem(path, str(error).removeprefix(f"{root / path}: ")))


def content_digest(*parts: bytes) -> str:
    """Of the `identity` of a sample's files and of what else it is made of, as `Sample.digest` has it."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()[:32]
