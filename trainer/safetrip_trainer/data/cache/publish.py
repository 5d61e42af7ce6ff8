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
    """What the new header no longer names: of PREPARED's own cache all, elsewhere what `before` named."""
    now = named_cache(prepared)
    place, kept = (None, set()) if now is None else (now[0].place, now[1].names())
    own = (prepared / CACHE_FOLDER).absolute()
    in_use = place is not None and Path(place).absolute() == own
    for path in own.rglob("*.tar"):
        if not in_use or path.relative_to(own).as_posix() not in kept:
            path.unlink(missing_ok=True)
    manifest = json.loads(read_bytes(prepared / HEADER_FILE)).get("cache", {}).get("manifest")
    for path in own.glob("cache-*.json"):
        if not in_use or path.name != manifest:
            path.unlink(missing_ok=True)
    if before is not None and before[0].place == place and not in_use:
        for name in before[1].names() - kept:
            before[0].remove(name)
