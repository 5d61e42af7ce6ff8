"""Reading planes from a cache: one read of the shard for a sample, whichever it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safetrip_trainer.data.cache.manifest import CacheManifest
from safetrip_trainer.data.cache.raw import decode_raw, is_raw
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.images import decode_gray, decode_image
from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.data.kitti import DEPTH_SCALE
from safetrip_trainer.data.planes import Planes
from safetrip_trainer.errors import DatasetError

__all__ = ["CacheSource"]


class CacheSource:
    """A `PlaneSource` on a cache.

    Raises DatasetError where the cache was made of another state of the data, or lacks a sample.

    Args:
        index: the prepared set.
        store: where the shards lie.
        manifest: what they hold.
    """

    def __init__(self, index: PreparedIndex, store: Store, manifest: CacheManifest) -> None:
        if manifest.data_hash != index.data_hash:
            raise DatasetError(
                f"{store}: the cache was made before the data last changed; run 'trainer prepare' again "
                "(or give --data.cache off)"
            )
        self.store = store
        self._places = manifest.places(sample.id for sample in index.samples)

    def read(self, sample: Sample, min_confidence: int) -> Planes:
        shard, members = self._places[sample.id]
        name = f"{self.store}/{shard} ({sample.id})"
        start = min(offset for offset, _ in members.values())
        end = max(offset + size for offset, size in members.values())
        try:
            data = _read(self.store.read(shard), start, end)
            if len(data) != end - start and self.store.remote:
                data = _read(self.store.refresh(shard), start, end)  # the copy here may be damaged alone
        except OSError as error:
            raise DatasetError(f"{name}: cannot be read: {error.strerror or error}") from error
        if len(data) != end - start:
            raise DatasetError(f"{name}: the shard is truncated; run 'trainer prepare' again")
        parts = {
            plane: data[offset - start : offset - start + size] for plane, (offset, size) in members.items()
        }
        mask = decode_gray(parts["mask"], name) if "mask" in parts else None
        depth = None
        if "depth" in parts:
            # The decoding of `kitti.decode_depth`, but for 0 staying 0.
            depth = decode_gray(parts["depth"], name, np.uint16) * np.float32(1.0 / DEPTH_SCALE)
            if "confidence" in parts:
                depth *= decode_gray(parts["confidence"], name) >= min_confidence
        content = parts["image"]
        return Planes(
            decode_raw(content, name) if is_raw(content) else decode_image(content, name), mask, depth
        )


def _read(path: Path, start: int, end: int) -> memoryview:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return memoryview(file.read(end - start))
