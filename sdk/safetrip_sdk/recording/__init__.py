"""Recordings: frames, predictions and timing as ROS 2 messages in MCAP; written, replayed, compared."""

from __future__ import annotations

from safetrip_sdk.recording.check import Comparison, FrameDifference, compare
from safetrip_sdk.recording.recorder import Recorder
from safetrip_sdk.recording.source import RecordedResult, RecordingSource

__all__ = ["Comparison", "FrameDifference", "RecordedResult", "Recorder", "RecordingSource", "compare"]
