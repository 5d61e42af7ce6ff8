"""A small generated tree, prepared once, for every test of the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import prepare
from safetrip_trainer.synth import SynthOptions, synthesize


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SafeTrip-Q tree of 24 small scenes."""
    out = tmp_path_factory.mktemp("synth") / "scenes"
    synthesize(out, SynthOptions(scenes=24, size=(160, 96), workers=1))
    return out


@pytest.fixture(scope="session")
def prepared(scenes: Path) -> PreparedIndex:
    """The same, prepared."""
    out = scenes.parent / "prepared"
    prepare(scenes, out)
    return PreparedIndex.load(out)
