"""The networks: HydraNet (student) and SegFormer (teacher)."""

from safetrip_trainer.model.hydranet import HydraNet, HydraOutput
from safetrip_trainer.model.teacher import SegformerTeacher

__all__ = ["HydraNet", "HydraOutput", "SegformerTeacher"]
