"""The builder's timing cache: TensorRT with a GPU alone has one, so its configuration is a stand-in here."""

from __future__ import annotations

import pytest

from safetrip_sdk.engines.builder import _timing_cache


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    """What TensorRT documents: no cache of another library's, and none of another driver attached."""

    attached: Cache | None = None

    def create_timing_cache(self, data: bytes) -> Cache | None:
        return None if data == b"of another version" else Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.data == b"of another driver":
            return False
        self.attached = cache
        return True


@pytest.mark.parametrize(
    ("kept", "used"),
    [(b"", b""), (b"good", b"good"), (b"of another version", b""), (b"of another driver", b"")],
)
def test_the_cache_that_is_stored_is_the_one_in_use(kept: bytes, used: bytes) -> None:
    config = Config()
    cache = _timing_cache(config, kept)
    assert cache is config.attached
    assert cache.serialize() == used
