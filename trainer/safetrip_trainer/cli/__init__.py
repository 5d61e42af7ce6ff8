"""The `trainer` command: one module a verb."""

from __future__ import annotations

from safetrip_trainer.cli.main import main

__all__ = ["main"]
