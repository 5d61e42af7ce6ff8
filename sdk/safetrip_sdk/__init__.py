"""Camera frames to surface and obstacle labels and metric depth, on the robot."""

from safetrip_sdk._version import __version__

__all__ = ["__version__"]
