"""`trainer demo`: the whole chain on generated scenes, by the commands that a user would type."""

from safetrip_trainer.demo.chain import run_demo
from safetrip_trainer.demo.plan import DemoPlan

__all__ = ["DemoPlan", "run_demo"]
