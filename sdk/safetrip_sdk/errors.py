"""Every error SafeTrip raises on purpose.

::

    SafetripError
"""

from __future__ import annotations

__all__ = ["SafetripError"]


class SafetripError(Exception):
    """Base of every error raised on purpose: its text names the thing at fault and what to do."""
