"""Frames in flight: slots lent to them, results in order or in time, and how long each stage took."""

__all__: list[str] = []
