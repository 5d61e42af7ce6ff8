"""Writing a shard: a tar in WebDataset's layout, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.data.cache.manifest import Members, Shard
from safetrip_trainer.data.cache.raw import RAW_SUFFIX, can_be_raw, encode_raw
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.images import decode_image, encode_jpeg, reduction
from safetrip_trainer.data.kitti import encode_depth
from safetrip_trainer.data.png import encode_plane

__all__ = ["CacheSpec", "ShardWriter"]

JPEG_QUALITY = 90


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
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)
        self._members: dict[str, Members] = {}

    def add(self, frame: Frame) -> None:
        """Reduce and append a sample's planes. DatasetError where its image cannot be decoded."""
        sample = frame.sample
        factor, size = self.spec.plan(sample.width, sample.height)
        key = f"{len(self._members):04d}"
        if self.spec.raw and can_be_raw(size):
            image = self._append(f"{key}.{RAW_SUFFIX}", encode_raw(_reduced(frame, factor, size)))
        else:
            image = self._append(f"{key}.jpg", _jpeg(frame, factor, size))
        members = {"image": image}
        for name, plane in (
            ("mask", frame.mask),
            ("depth", frame.depth),
            ("confidence", frame.confidence),
        ):
            if plane is not None:
                small = _subsample(plane, size)
                if name == "depth":
                    small = encode_depth(sample.to_metres(small))
                members[name] = self._append(f"{key}.{name}.png", encode_plane(small, level=2))
        about = {"id": sample.id, "source": sample.source, "width": sample.width, "height": sample.height}
        self._append(f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
        self._members[sample.id] = members

    def _append(self, name: str, data: bytes) -> tuple[int, int]:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))
        blocks = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._buffer.tell() - blocks, len(data)

    def finish(self, store: Store) -> Shard | None:
        """Put the tar under a name by its content; None where nothing was added."""
        if not self._members:
            return None
        self._tar.close()
        data = self._buffer.getvalue()
        shard = Shard(f"{self.prefix}-{hashlib.sha256(data).hexdigest()[:12]}.tar", len(data), self._members)
        store.write(shard.name, data)
        return shard


def _jpeg(frame: Frame, factor: int, size: tuple[int, int]) -> bytes:
    """The image at `size` (h, w); a JPEG that stays as large stays as it is."""
    if size == (frame.info.height, frame.info.width) and frame.info.kind == "jpeg":
        return frame.data
    return encode_jpeg(_reduced(frame, factor, size), JPEG_QUALITY)


def _reduced(frame: Frame, factor: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 BGR."""
    image = decode_image(frame.data, frame.sample.image, factor)
    if image.shape[:2] != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image


def _subsample(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) of the plane's own pixels: labels and metres must not be averaged."""
    if plane.shape == size:
        return plane
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
