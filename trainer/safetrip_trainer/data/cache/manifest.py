"""What a cache holds: its shards, and where in them each sample's planes lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.files import read_json
from safetrip_trainer.errors import DatasetError

__all__ = ["CacheManifest", "Members", "Shard"]

_VERSION = 2
# Of one sample, which is read in one piece.
_MOST_BYTES = 1 << 30

Members = Mapping[str, tuple[int, int]]
"""Plane ("image", "mask", "depth", "confidence") -> offset and size in the shard, in bytes."""


@dataclass(frozen=True)
class Shard:
    """One tar: its `name` in the store, its `size` in bytes, and `members` by sample id."""

    name: str
    size: int
    members: Mapping[str, Members]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "members": self.members}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shard:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        size = int(value["size"])
        members = {sample: _members(planes, size) for sample, planes in value["members"].items()}
        return cls(str(value["name"]), size, members)


def _members(value: Mapping[str, Any], size: int) -> Members:
    """Of one sample in a shard of `size` bytes; ValueError where they lie elsewhere."""
    members = {plane: (int(place[0]), int(place[1])) for plane, place in value.items()}
    start = min(offset for offset, _ in members.values())
    end = max(offset + length for offset, length in members.values())
    whole = "image" in members and all(length > 0 for _, length in members.values())
    if not (whole and start >= 0 and end <= size and end - start <= _MOST_BYTES):
        raise ValueError(f"members {members} of a shard of {size} bytes")
    return members


@dataclass(frozen=True)
class CacheManifest:
    """`min_size` (h, w) that every image at least has unless its original is smaller; `data_hash` of the
    prepared index whose samples `shards` hold. `stale` names those of the cache before that are not of this
    one: a training that began before may still read them, so that they go with the next cache only.
    """

    min_size: tuple[int, int]
    data_hash: str
    shards: tuple[Shard, ...]
    stale: tuple[str, ...] = ()

    def write(self, store: Store) -> str:
        """Put it into the store under a name by content; returns the name."""
        value = {
            "version": _VERSION,
            "min_size": list(self.min_size),
            "data_hash": self.data_hash,
            "shards": [shard.to_json() for shard in self.shards],
            "stale": list(self.stale),
        }
        data = json.dumps(value, separators=(",", ":")).encode()
        name = f"cache-{hashlib.sha256(data).hexdigest()[:12]}.json"
        store.write(name, data, sync=True)
        return name

    @classmethod
    def read(cls, store: Store, name: str) -> CacheManifest:
        """DatasetError where it is absent, damaged or newer than this version."""
        path = store.read(name)
        value = read_json(path)
        try:
            version = int(value["version"])
            if version > _VERSION:
                raise DatasetError(
                    f"{path}: cache version {version} is newer than {_VERSION}; update safetrip"
                )
            height, width = value["min_size"]
            shards = tuple(Shard.from_json(shard) for shard in value["shards"])
            stale = tuple(str(name) for name in value.get("stale", ()))
            return cls((int(height), int(width)), str(value["data_hash"]), shards, stale)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DatasetError(f"{path}: damaged ({error!r}); run 'trainer prepare' again") from error

    def names(self) -> set[str]:
        """Of the shards."""
        return {shard.name for shard in self.shards}

    def after(self, before: CacheManifest) -> CacheManifest:
        """This one, as the successor of another in the same place."""
        return replace(self, stale=tuple(sorted(before.names() - self.names())))

    def places(self, ids: Iterable[str]) -> dict[str, tuple[str, Members]]:
        """Sample id -> shard and members; DatasetError where one is missing."""
        places = {
            sample: (shard.name, members)
            for shard in self.shards
            for sample, members in shard.members.items()
        }
        missing = [sample for sample in ids if sample not in places]
        if missing:
            raise DatasetError(
                f"the cache lacks {len(missing)} sample(s), {missing[0]} first; run 'trainer prepare' again"
            )
        return places
