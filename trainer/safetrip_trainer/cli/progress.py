"""A progress bar for steps that report (done, total, what)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

__all__ = ["bar"]


@contextmanager
def bar(unit: str = "frame") -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback that draws one bar for each `what` it is told of."""
    bars: dict[str, tqdm[Any]] = {}

    def update(done: int, total: int, what: str) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit=unit)
        bars[what].update(done - bars[what].n)

    try:
        yield update
    finally:
        for item in bars.values():
            item.close()
