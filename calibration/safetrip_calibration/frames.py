"""Frames that calibrate and compare: real ones, chosen to represent the data set, one in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safetrip_calibration.errors import FramesError

__all__ = [
    "IGNORE",
    "FrameSet",
    "FramesDigest",
    "LabelledFrame",
    "SelectedFrames",
    "require_frames",
    "select_frames",
]

IGNORE = 255
POOL = 4  # frames looked at for each frame wanted: bounds the reading in a set of 40,000
BRIGHTNESS_BINS = 5
CLASS_SHARE = 0.005  # a class counts as shown in a frame from this share of its pixels on


@dataclass(frozen=True)
class LabelledFrame:
    """One frame and what is known of it.

    Attributes:
        name: unique in its set.
        frame: (H, W, 3) uint8, BGR.
        source: where it comes from: `"surface"`, `"polygon"`, `"depth"` or another stratum.
        labels: (H, W) uint8 class ids, 255 = none; None when nothing is labelled.
        depth: (H, W) float32 metres, NaN where invalid; None when there is none.
    """

    name: str
    frame: NDArray[np.uint8]
    source: str = ""
    labels: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        frame = self.frame
        if not (
            isinstance(frame, np.ndarray)
            and frame.dtype == np.uint8
            and frame.ndim == 3
            and frame.shape[2] == 3
        ):
            shape, dtype = getattr(frame, "shape", None), getattr(frame, "dtype", type(frame).__name__)
            raise FramesError(f"frame {self.name!r}: want (H, W, 3) uint8, got {shape} {dtype}")
        for what, value, dtype in (("labels", self.labels, np.uint8), ("depth", self.depth, np.float32)):
            if value is not None and (value.shape != frame.shape[:2] or value.dtype != dtype):
                raise FramesError(
                    f"frame {self.name!r}: want {what} {frame.shape[:2]} {np.dtype(dtype)}, "
                    f"got {value.shape} {value.dtype}"
                )


class FrameSet(Protocol):
    """A lazy sequence of frames: `set[i]` reads frame i and nothing keeps it. What is known without reading:
    each one's name, source, and whether it has class labels.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def labelled(self) -> Sequence[bool]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> LabelledFrame: ...


class SelectedFrames:
    """Some frames of a FrameSet, in a fixed order; a FrameSet itself.

    Attributes:
        indices: positions in the set selected from.
        names, sources, labelled: of the frames selected.
    """

    def __init__(self, frames: FrameSet, indices: Sequence[int]) -> None:
        self._frames = frames
        self.indices = tuple(indices)
        self.names: tuple[str, ...] = tuple(frames.names[index] for index in self.indices)
        self.sources: tuple[str, ...] = tuple(frames.sources[index] for index in self.indices)
        self.labelled: tuple[bool, ...] = tuple(frames.labelled[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> LabelledFrame:
        return self._frames[self.indices[index]]

    def __iter__(self) -> Iterator[LabelledFrame]:
        return (self[index] for index in range(len(self)))


class FramesDigest:
    """SHA-256 over names and pixels, fed one frame at a time in the set's order.

    Args:
        truth: also over labels and depth, for what is judged by them.
    """

    def __init__(self, truth: bool = False) -> None:
        self._hash = hashlib.sha256()
        self._truth = truth

    def update(self, frame: LabelledFrame) -> None:
        header = f"{len(frame.name.encode())}:{frame.name}:{frame.frame.shape}"
        self._hash.update(header.encode())
        self._hash.update(np.ascontiguousarray(frame.frame).data)
        for plane in (frame.labels, frame.depth) if self._truth else ():
            # A plane has the frame's size, which is in the header: nothing runs over into the next.
            self._hash.update(b"0" if plane is None else b"1")
            if plane is not None:
                self._hash.update(np.ascontiguousarray(plane).data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def require_frames(frames: FrameSet, purpose: str) -> None:
    """FramesError unless there is at least one frame."""
    if len(frames) == 0:
        raise FramesError(
            f"there are no frames for {purpose}: name a prepared set, or a split of it, that holds some "
            "(never random data)"
        )


def select_frames(
    frames: FrameSet, count: int = 500, seed: int = 0, purpose: str = "calibration"
) -> SelectedFrames:
    """Choose `count` frames spread over sources, classes and brightness; the same ones for the same seed.

    Greedy: each step takes the frame that adds most to strata shown seldom so far. A set larger than
    `POOL * count` is first thinned at random, evenly over its sources, so that few frames are read.

    Args:
        frames: the set; when it holds no more than `count`, all are taken.
        count: how many, at least 1.
        seed: of the order in which frames are considered.
        purpose: what they are for, for the message where there are none.

    Raises:
        FramesError: the set is empty or `count` is below 1.
    """
    require_frames(frames, purpose)
    if count < 1:
        raise FramesError(f"count is {count}: want at least 1 frame")
    if len(frames) <= count:
        return SelectedFrames(frames, range(len(frames)))
    pool = _pool(frames.sources, min(len(frames), POOL * count), np.random.default_rng(seed))
    strata = _strata(frames, pool)
    shown = np.zeros(strata.shape[1])
    chosen: list[int] = []
    free = np.ones(len(pool), dtype=bool)
    for _ in range(count):
        gain = strata @ (1.0 / (1.0 + shown))
        gain[~free] = -1.0
        best = int(gain.argmax())
        free[best] = False
        shown += strata[best] > 0
        chosen.append(pool[best])
    return SelectedFrames(frames, sorted(chosen))


def _pool(sources: Sequence[str], size: int, rng: np.random.Generator) -> list[int]:
    """`size` indices, as evenly over the sources as they allow, in random order within each."""
    queues: dict[str, list[int]] = {}
    for index in rng.permutation(len(sources)):
        queues.setdefault(sources[index], []).append(int(index))
    pool: list[int] = []
    while len(pool) < size:
        for name in sorted(queues):
            if queues[name] and len(pool) < size:
                pool.append(queues[name].pop())
    return pool


def _strata(frames: FrameSet, pool: Sequence[int]) -> NDArray[np.float64]:
    """(len(pool), strata) weights: source and brightness weigh 1 each, the classes shown share another 1."""
    brightness = np.zeros(len(pool))
    classes = np.zeros((len(pool), 256))
    for row, index in enumerate(pool):
        item = frames[index]
        brightness[row] = item.frame[::8, ::8].mean()
        if item.labels is not None:
            counts = np.bincount(item.labels[::4, ::4].ravel(), minlength=256).astype(np.float64)
            counts[IGNORE] = 0
            classes[row] = counts >= max(1.0, CLASS_SHARE * item.labels[::4, ::4].size)
    classes /= np.maximum(classes.sum(axis=1, keepdims=True), 1.0)
    # Bins of equal width, not of equal count: the few night frames are a stratum of their own.
    edges = np.linspace(brightness.min(), brightness.max(), BRIGHTNESS_BINS + 1)[1:-1]
    bins = _one_hot(np.searchsorted(edges, brightness), BRIGHTNESS_BINS)
    names = sorted({frames.sources[index] for index in pool})
    sources = _one_hot(np.array([names.index(frames.sources[index]) for index in pool]), len(names))
    return np.hstack([sources, bins, classes])


def _one_hot(values: NDArray[Any], size: int) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = np.eye(size)[values]
    return rows
