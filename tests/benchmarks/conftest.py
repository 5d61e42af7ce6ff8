"""The SDK's tiny bundle serves its benchmarks, too."""

from __future__ import annotations

from tests.sdk.conftest import tiny_bundle

__all__ = ["tiny_bundle"]
