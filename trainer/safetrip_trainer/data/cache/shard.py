"""Writing a shard: a tar in WebDataset's layout, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.data.cache.manifest import Members, Shard
from safetrip_trainer.data.cache.raw import RAW_SUFFIX, encode_raw
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.i420 import halves
from safetrip_trainer.data.images import decode_image, encode_jpeg, reduction
from safetrip_trainer.data.index import Sample
from safetrip_trainer.data.kitti import encode_depth
from safetrip_trainer.data.png import checksum, encode_plane

__all__ = ["CacheSpec", "ShardWriter"]

JPEG_QUALITY = 90

# What a shard is named by: the length and checksum of each of its parts, which cost a tenth of a hash of the
# whole.
_IDENTITY = struct.Struct(">QI")


@dataclass(frozen=True)
class CacheSpec:
    """Where the cache lies (path or URL), the (h, w) that its images at least have, and how they are kept:
    `raw` or as JPEG.

    Images are decoded at the smallest of 1, 1/2, 1/4 and 1/8 that covers `min_size`, the scales at which a
    JPEG costs less; a side that is then beyond 5/4 of it is brought to that, for the net's input squeezes it
    anyway. Nothing is enlarged.
    """

    place: str
    min_size: tuple[int, int]
    raw: bool = False

    def plan(self, width: int, height: int) -> tuple[int, tuple[int, int]]:
        """For an image: what to divide it by in decoding, and the (h, w) to keep."""
        factor = reduction(width, height, self.min_size)
        sides = zip((height, width), self.min_size)
        kept = [min(-(-side // factor), math.ceil(1.25 * least)) for side, least in sides]
        if self.raw:  # even, as 4:2:0 must be
            kept = [side - side % 2 if side > 1 else side for side in kept]
        return factor, (kept[0], kept[1])


class ShardWriter:
    """Collects the frames of one unit and puts them into the store as one tar.

    A sample's members share a key, as WebDataset has it: `0007.jpg` or `0007.i420.pgm`, `0007.mask.png`
    (class ids), `0007.depth.png` (KITTI's coding: metres x 256, 0 = none), `0007.confidence.png`,
    `0007.json`. Nothing in it depends on time, place or user.
    """

    def __init__(self, spec: CacheSpec, prefix: str) -> None:
        self.spec = spec
        self.prefix = prefix
        self._parts: list[bytes] = []
        self._size = 0
        self._identity = hashlib.sha256()
        self._members: dict[str, Members] = {}
        self._codes: dict[tuple[float | None, float | None], np.ndarray] = {}

    def add(self, frame: Frame) -> None:
        """Reduce and append a sample's planes. DatasetError where its image cannot be decoded."""
        sample = frame.sample
        factor, size = self.spec.plan(sample.width, sample.height)
        # Planes first, while they are in the processor's cache: decoding an image sweeps it.
        planes = {name: encode_plane(small, level=2) for name, small in self._reduced(frame, size)}
        key = f"{len(self._members):04d}"
        if self.spec.raw and halves(size):
            image = decode_image(frame.data, sample.image, factor)
            place = self._append(f"{key}.{RAW_SUFFIX}", encode_raw(image, size))
        else:
            place = self._append(f"{key}.jpg", _jpeg(frame, factor, size))
        members = {"image": place}
        for name, data in planes.items():
            members[name] = self._append(f"{key}.{name}.png", data)
        about = {"id": sample.id, "source": sample.source, "width": sample.width, "height": sample.height}
        self._append(f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
        self._members[sample.id] = members

    def _reduced(self, frame: Frame, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray]]:
        if frame.mask is not None:
            yield "mask", _subsample(frame.mask, size)
        if frame.depth is not None:
            yield "depth", self._depth_codes(frame.sample).take(_subsample(frame.depth, size))
        if frame.confidence is not None:
            yield "confidence", _subsample(frame.confidence, size)

    def _depth_codes(self, sample: Sample) -> np.ndarray:
        """(65536,) uint16: what each value of the sample's depth file is in KITTI's coding."""
        scale = (sample.baseline, sample.fx)
        if scale not in self._codes:
            every = np.arange(1 << 16, dtype=np.uint16)[None]
            self._codes[scale] = encode_depth(sample.to_metres(every))[0]
        return self._codes[scale]

    def _append(self, name: str, data: bytes) -> tuple[int, int]:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        header = info.tobuf(tarfile.USTAR_FORMAT)
        start = self._size + len(header)
        self._put(header, data, bytes(-len(data) % tarfile.BLOCKSIZE))
        return start, len(data)

    def _put(self, *parts: bytes) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))
        for part in parts:
            self._identity.update(_IDENTITY.pack(len(part), checksum(part)))

    def finish(self, store: Store) -> Shard | None:
        """Put the tar under a name by its content; None where nothing was added."""
        if not self._members:
            return None
        # Two empty blocks end a tar, which is a number of records long.
        end = 2 * tarfile.BLOCKSIZE
        self._put(bytes(end + -(self._size + end) % tarfile.RECORDSIZE))
        name = f"{self.prefix}-{self._identity.hexdigest()[:12]}.tar"
        store.write(name, self._parts)
        return Shard(name, self._size, self._members)


def _jpeg(frame: Frame, factor: int, size: tuple[int, int]) -> bytes:
    """The image at `size` (h, w); a JPEG that stays as large stays as it is."""
    if size == (frame.info.height, frame.info.width) and frame.info.kind == "jpeg":
        return frame.data
    image = decode_image(frame.data, frame.sample.image, factor)
    if image.shape[:2] != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return encode_jpeg(image, JPEG_QUALITY)


def _subsample(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) of the plane's own pixels: labels and metres must not be averaged."""
    if plane.shape == size:
        return plane
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
