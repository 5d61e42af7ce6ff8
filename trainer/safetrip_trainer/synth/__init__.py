"""Procedural sidewalk scenes with exact labels and depth, written in SafeTrip-Q's layout."""

from __future__ import annotations

from safetrip_trainer.synth.tree import SynthOptions, synthesize
from safetrip_trainer.synth.video import write_video
from safetrip_trainer.synth.walk import Frame, Walk, render_sequence

__all__ = ["Frame", "SynthOptions", "Walk", "render_sequence", "synthesize", "write_video"]
