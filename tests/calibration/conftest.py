from __future__ import annotations

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
