"""From a SafeTrip-Q tree on disk to an index that training reads: scan, check, rasterise, split, count."""

from __future__ import annotations

from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.data.prepare import PrepareOptions, PrepareReport, prepare

__all__ = ["PrepareOptions", "PrepareReport", "PreparedIndex", "Sample", "prepare"]
