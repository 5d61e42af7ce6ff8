from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from onnx import ModelProto

from safetrip_sdk.bundle import Bundle
from tests.calibration.nets import Scenes, make_manifest, make_model


@pytest.fixture(scope="session")
def model() -> ModelProto:
    return make_model()


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    return Scenes(9)


@pytest.fixture
def bundle(tmp_path: Path, model: ModelProto) -> Path:
    """A bundle with fp32 only."""
    path = tmp_path / "toy.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString())
    return path


@contextmanager
def _no_room() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def no_room() -> Callable[[], AbstractContextManager[None]]:
    """In this context a write beyond the 64th byte of a file fails, as on a disk that is full."""
    return _no_room
