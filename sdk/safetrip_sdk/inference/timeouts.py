"""What a number of seconds means to those who wait, and what they are told when it is over."""

from __future__ import annotations

import math

from safetrip_sdk.errors import ResultTimeoutError

__all__ = ["LONGEST", "hangs", "is_never", "no_result", "no_slot", "patience", "seconds"]

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


def no_slot(slots: int, timeout: float | None) -> ResultTimeoutError:
    """For a call whose frame was never begun."""
    return ResultTimeoutError(
        f"all {slots} slots were busy for {(timeout or 0) * 1e3:.0f} ms; "
        "send fewer frames, use more slots, or give more time",
        stage="queued",
    )


def no_result(frame_id: int, waited: float | None, stage: str, hint: str) -> ResultTimeoutError:
    """For whoever waited for a frame that is under way."""
    after = f"{(waited or 0) * 1e3:.0f} ms"
    return ResultTimeoutError(
        f"frame {frame_id}: no result after {after}, the frame is in stage {stage}; {hint}", stage=stage
    )


def hangs(frame_id: int, hang_after: float, stage: str, where: str) -> ResultTimeoutError:
    """The watchdog's verdict, which makes the runtime unusable."""
    return ResultTimeoutError(
        f"frame {frame_id} hangs in stage {stage} for more than {hang_after:g} s on {where}; "
        "reopen() the runtime",
        stage=stage,
        recoverable=False,
    )
