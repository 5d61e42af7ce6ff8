"""The training cache: samples at the training's scale in WebDataset shards, local or on an object store."""

from __future__ import annotations

from safetrip_trainer.data.cache.manifest import CacheManifest, Shard
from safetrip_trainer.data.cache.reader import CacheSource
from safetrip_trainer.data.cache.shard import CacheSpec, ShardWriter
from safetrip_trainer.data.cache.store import Store

__all__ = ["CacheManifest", "CacheSource", "CacheSpec", "Shard", "ShardWriter", "Store"]
