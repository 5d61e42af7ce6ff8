"""Making a cache the one that training reads, and clearing away what no longer belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetrip_trainer.data.cache.locate import CACHE_FOLDER, named_cache
from safetrip_trainer.data.cache.manifest import CacheManifest
from safetrip_trainer.data.cache.shard import CacheSpec
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.files import read_bytes
from safetrip_trainer.data.index import HEADER_FILE

__all__ = ["publish", "remove_stale_shards"]


def publish(
    manifest: CacheManifest, spec: CacheSpec, header: Mapping[str, Any], index: Path
) -> dict[str, str]:
    """Write the manifest; returns the header's entry that names it.

    A cache outside of PREPARED also gets the index and a header of its own, the header last: training can
    then start from it alone.
    """
    store = Store(spec.place)
    name = manifest.write(store)
    if store.folder == index.absolute().parent / CACHE_FOLDER:
        return {"place": CACHE_FOLDER, "manifest": name}
    entry = {"place": spec.place, "manifest": name}
    store.write(index.name, read_bytes(index), sync=True)
    own = {**header, "cache": entry}
    store.write(HEADER_FILE, (json.dumps(own, indent=2, ensure_ascii=False) + "\n").encode(), sync=True)
    return entry


def remove_stale_shards(prepared: Path, before: tuple[Store, CacheManifest] | None) -> None:
    """What neither the header's cache nor the one `before` it named.

    Of PREPARED's own cache everything else goes, elsewhere what `before` found stale already. A training that
    reads the cache `before` has its shards until `prepare` runs once more.
    """
    now = named_cache(prepared)
    own = (prepared / CACHE_FOLDER).absolute()
    kept: dict[str, set[str]] = {}
    for store, manifest in filter(None, (now, before)):
        kept.setdefault(store.absolute, set()).update(manifest.names())
    for path in own.rglob("*.tar"):
        if path.relative_to(own).as_posix() not in kept.get(str(own), ()):
            path.unlink(missing_ok=True)
    named = json.loads(read_bytes(prepared / HEADER_FILE)).get("cache", {}).get("manifest")
    for path in own.glob("cache-*.json"):
        if path.name != named:
            path.unlink(missing_ok=True)
    if before is not None:
        store, manifest = before
        for name in set(manifest.stale) - kept[store.absolute]:
            store.remove(name)
