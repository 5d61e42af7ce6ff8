from __future__ import annotations

import os
from pathlib import Path

import pytest

from safetrip_trainer.data import files
from safetrip_trainer.errors import DatasetError


@pytest.mark.parametrize("sync", [True, False])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    path = tmp_path / "sub/a.json"
    files.write_atomic(path, b"old", sync)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DatasetError, match=r"a\.json: cannot be written: No space left"):
        files.write_atomic(path, b"new", sync)
    assert path.read_bytes() == b"old"
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
