"""The CUDA runtime: FakeCuda, and what only the GPU check asks of it."""

from __future__ import annotations

import os
import sys
from typing import Any

from tests.sdk.fake_gpu import FakeCuda


class Runtime(FakeCuda):
    def __init__(self) -> None:
        super().__init__()
        major, minor = os.environ.get("FAKE_GPU_CAPABILITY", "9.0").split(".")
        self.attributes.update(major=int(major), minor=int(minor))

    def cudaMemGetInfo(self) -> Any:
        return 1 << 30, 1 << 30

    def cudaDeviceReset(self) -> None:
        # What CUDA says of a context that an illegal address broke: only a new process gets another.
        if "FAKE_GPU_STAYS_BROKEN" not in os.environ:
            super().cudaDeviceReset()


sys.modules[__name__] = Runtime()
