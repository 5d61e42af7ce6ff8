"""Writing a shard: a tar in WebDataset's layout, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass

import cv2
import numpy as np

from safetrip_trainer.data.cache.manifest import Members, Shard
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.frame import Frame
from safetrip_trainer.data.images import decode_image, encode_jpeg, encode_png, reduction
from safetrip_trainer.data.kitti import encode_depth

__all__ = ["CacheSpec", "ShardWriter"]

JPEG_QUALITY = 90


@dataclass(frozen=True)
class CacheSpec:
    """Where the cache lies (path or URL), and the (h, w) that its images at least have.

    Images are kept at the smallest of 1, 1/2, 1/4 and 1/8 that covers `min_size`: the scales at which a JPEG
    can be decoded for less.
    """

    place: str
    min_size: tuple[int, int]


class ShardWriter:
    """Collects the frames of one unit and puts them into the store as one tar.

    A sample's members share a key, as WebDataset has it: `0007.jpg`, `0007.mask.png` (class ids),
    `0007.depth.png` (KITTI's coding: metres x 256, 0 = none), `0007.confidence.png`, `0007.json`. Nothing in
    it depends on time, place or user.
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
        factor = reduction(sample.width, sample.height, self.spec.min_size)
        key = f"{len(self._members):04d}"
        members = {"image": self._append(f"{key}.jpg", _jpeg(frame, factor))}
        for name, plane in (
            ("mask", frame.mask),
            ("depth", frame.depth),
            ("confidence", frame.confidence),
        ):
            if plane is not None:
                small = _subsample(plane, factor)
                if name == "depth":
                    small = encode_depth(sample.to_metres(small))
                members[name] = self._append(f"{key}.{name}.png", encode_png(small))
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


def _jpeg(frame: Frame, factor: int) -> bytes:
    """The image reduced by `factor`; a JPEG that stays as large stays as it is."""
    if factor == 1 and frame.info.kind == "jpeg":
        return frame.data
    return encode_jpeg(decode_image(frame.data, frame.sample.image, factor), JPEG_QUALITY)


def _subsample(plane: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th pixel, at the middle of each block: labels and metres must not be averaged."""
    if factor == 1:
        return plane
    size = (-(-plane.shape[1] // factor), -(-plane.shape[0] // factor))
    return cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST_EXACT)
