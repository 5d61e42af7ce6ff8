"""KITTI's depth files: 16-bit PNG, metres x 256, 0 where there is no measurement."""

from __future__ import annotations

import numpy as np

__all__ = ["DEPTH_SCALE", "decode_depth", "encode_depth"]

DEPTH_SCALE = 256.0
"""Steps a metre: 3.9 mm each, at most 255.996 m (KITTI depth devkit's readme)."""

_LARGEST = 65535


def decode_depth(stored: np.ndarray) -> np.ndarray:
    """(H, W) uint16 to (H, W) float32 metres, NaN where there is none."""
    depth = stored.astype(np.float32) / np.float32(DEPTH_SCALE)
    depth[stored == 0] = np.nan
    return depth


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres, NaN unknown, to (H, W) uint16: wrong by at most 1/512 m.

    What lies beyond 255.996 m, or nearer than 1/512 m, becomes unknown.
    """
    steps = np.rint(np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0) * np.float32(DEPTH_SCALE))
    return np.where((steps > 0) & (steps <= _LARGEST), steps, 0).astype(np.uint16)
