"""Settings within the range in which they mean something: better refused than trained with."""

from __future__ import annotations

import math

from safetrip_trainer.errors import TrainerError

__all__ = ["require_above", "require_within"]


def require_within(name: str, value: float, least: float = 0, most: float = math.inf) -> None:
    """TrainerError naming the setting where `value` is no number from `least` to `most`, both included."""
    if not (least <= value <= most and math.isfinite(value)):
        wanted = f"{least} or more" if math.isinf(most) else f"{least} to {most}"
        raise TrainerError(f"{name} {value}: want {wanted}")


def require_above(name: str, value: float, bound: float = 0) -> None:
    """TrainerError naming the setting where `value` is no finite number above `bound`."""
    if not (bound < value < math.inf):
        raise TrainerError(f"{name} {value}: want more than {bound}")
