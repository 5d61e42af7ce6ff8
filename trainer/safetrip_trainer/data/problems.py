"""What `prepare` could not use: a path and a reason, counted and printed, never replaced by a dummy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, order=True)
class Problem:
    """One thing left out: `path` relative to the tree's root, `reason` in words, with the fix if any."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
