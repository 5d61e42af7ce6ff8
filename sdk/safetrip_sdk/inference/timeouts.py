"""What a number of seconds means to those who wait."""

from __future__ import annotations

import math

__all__ = ["LONGEST", "is_never", "patience", "seconds"]

LONGEST = 1e6
"""Seconds, eleven days: what is longer is for ever. No clock of a library that waits counts to infinity."""


def seconds(timeout: float | None) -> float | None:
    """`timeout`, or None (for ever) where it is longer than `LONGEST`; ValueError for NaN."""
    if timeout is None or timeout > LONGEST:
        return None
    if math.isnan(timeout):
        raise ValueError("timeout: want seconds, or None for ever, not nan")
    return timeout


def is_never(hang_after: float) -> bool:
    """Whether nothing counts as hung after so many seconds: 0, or longer than `LONGEST`."""
    return not 0 < hang_after <= LONGEST


def patience(hang_after: float) -> float:
    """Seconds that closing waits for what may hang: 10 where nothing counts as hung."""
    return 10.0 if is_never(hang_after) else hang_after
