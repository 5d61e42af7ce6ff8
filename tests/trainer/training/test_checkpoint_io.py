"""A checkpoint is on the disk whole or not at all, and nothing in one is run."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.training.checkpoint_io import AtomicCheckpointIO


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    files, last = AtomicCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    files.save_checkpoint({"weight": torch.zeros(5000)}, last)
    before = last.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # the file system takes no more
    try:
        with pytest.raises(CheckpointError, match=r"last\.ckpt: .*the earlier one there is whole"):
            files.save_checkpoint({"weight": torch.ones(5000)}, last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert last.read_bytes() == before
    assert list(last.parent.iterdir()) == [last]
    files.save_checkpoint({"weight": torch.ones(5000)}, last)
    assert torch.equal(files.load_checkpoint(last)["weight"], torch.ones(5000))


# Lightning passes its caller's word on, and loads with pickle where a caller gives none.
@pytest.mark.parametrize("options", [{}, {"weights_only": False}])
def test_objects_in_a_checkpoint_are_refused_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: cannot be resumed from: holds getattr"):
        AtomicCheckpointIO().load_checkpoint("evil.ckpt", **options)
    assert not Path("evil").exists()
