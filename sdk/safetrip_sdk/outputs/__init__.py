"""Where results go: JSON lines, annotated video, recordings, a live view; each in a thread of its own."""

from __future__ import annotations

from safetrip_sdk.outputs.base import Output, Shot
from safetrip_sdk.outputs.keeper import FrameKeeper, KeptFrame
from safetrip_sdk.outputs.threaded import ThreadedOutput

__all__ = ["FrameKeeper", "KeptFrame", "Output", "Shot", "ThreadedOutput"]
