"""Finding a prepared set and its cache: on disk, or on an object store alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetrip_trainer.data.cache.manifest import CacheManifest
from safetrip_trainer.data.cache.store import Store, is_url, plain
from safetrip_trainer.data.files import read_json
from safetrip_trainer.data.index import HEADER_FILE, PreparedIndex, read_header
from safetrip_trainer.errors import DatasetError

__all__ = ["CACHE_FOLDER", "find_cache", "named_cache", "open_index"]

CACHE_FOLDER = "cache"
"""Of a cache that lies in PREPARED itself."""


def open_index(place: str | os.PathLike[str]) -> PreparedIndex:
    """PREPARED, or a cache's own folder or URL; the tree need not be there.

    A URL's header and index are copied to the local mirror. Raises DatasetError as `PreparedIndex.load` does.
    """
    if not is_url(place):
        return PreparedIndex.load(plain(place), need_tree=False)
    store = Store(place)
    store.refresh(HEADER_FILE)
    store.read(str(read_header(store.folder)["index"]))
    return PreparedIndex.load(store.folder, need_tree=False)


def find_cache(
    prepared: str | os.PathLike[str], header: Mapping[str, Any], wish: str = "auto"
) -> tuple[Store, CacheManifest] | None:
    """The cache to train from, None where there is none to be had (or `wish` is "off").

    Args:
        prepared: where the index was opened: a folder or URL.
        header: the index's header.
        wish: "auto" takes the one that the header names; "off"; or a cache's folder or URL.
    """
    if wish == "off":
        return None
    if wish != "auto":
        found = find_cache(wish, read_json(Store(wish).refresh(HEADER_FILE)))
        if found is None:
            raise DatasetError(f"{wish}: no cache there; make it by 'trainer prepare ... --cache {wish}'")
        return found
    entry = header.get("cache")
    if not entry:
        return None
    store = _store(prepared, entry)
    if not store.remote and not (store.folder / entry["manifest"]).exists():
        return None
    return store, CacheManifest.read(store, entry["manifest"])


def _store(prepared: str | os.PathLike[str], entry: Mapping[str, str]) -> Store:
    """Where the header was found, be it PREPARED or the cache itself, comes before what it says: either may
    have moved, or be read by another name than it was written to (s3:// by https://).
    """
    if is_url(prepared) or (Path(prepared) / entry["manifest"]).is_file():
        return Store(prepared)
    return Store(entry["place"] if is_url(entry["place"]) else Path(prepared) / entry["place"])


def named_cache(prepared: Path) -> tuple[Store, CacheManifest] | None:
    """What PREPARED's header names, be it usable; None where that cannot be told."""
    try:
        return find_cache(prepared, read_json(prepared / HEADER_FILE))
    except DatasetError:
        return None
