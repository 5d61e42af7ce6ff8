"""Quantisation-aware training: the INT8 deploy graph as a torch module that learns."""

from __future__ import annotations

from safetrip_trainer.quantize.net import QuantizedNet
from safetrip_trainer.quantize.start import quantize_student

__all__ = ["QuantizedNet", "quantize_student"]
