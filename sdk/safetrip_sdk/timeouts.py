"""What a number of seconds means to those who wait."""

from __future__ import annotations

import math

__all__ = ["LONGEST", "seconds"]

LONGEST = 1e6
"""Seconds, eleven days: what is longer is for ever. No clock of a library that waits counts to infinity."""


def seconds(timeout: float | None) -> float | None:
    """`timeout`, or None (for ever) where it is longer than `LONGEST`; ValueError for NaN."""
    if timeout is None or timeout > LONGEST:
        return None
    if math.isnan(timeout):
        raise ValueError("timeout: want seconds, or None for ever, not nan")
    return timeout
