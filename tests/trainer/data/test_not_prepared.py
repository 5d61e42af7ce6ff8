"""A path that holds no prepared set: what it is, and a command that works and spoils nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from safetrip_trainer.cli.main import main
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import write_tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tree(tmp_path / "my tree")
    prepare(tmp_path / "my tree", tmp_path / "done", PrepareOptions(workers=1, progress=False))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/todo.txt").write_text("walk")
    return tmp_path


def _complaint(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        PreparedIndex.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("my tree", "is a raw tree; run 'trainer prepare 'my tree' --out 'my tree-prepared''"),
        ("my tree/Surface", "belongs to the raw tree my tree; run 'trainer prepare 'my tree' --out"),
        ("my tree/Surface/Surface_001", "belongs to the raw tree my tree; run"),
        ("my tree/Depth/nowhere", "belongs to the raw tree my tree; run"),
        ("my tree/prepared", "belongs to the raw tree my tree; run"),
        ("done/masks", "is a part of the prepared set done; give that"),
        ("done/masks/Surface", "is a part of the prepared set done; give that"),
        ("done/prepared.json", "is a part of the prepared set done; give that"),
        (".", "holds the prepared set done; give that"),
        ("empty", "is empty; run 'trainer prepare DATA --out empty'"),
        ("nowhere", "does not exist; run 'trainer prepare DATA --out nowhere'"),
        ("notes", "is no prepared set; run 'trainer prepare DATA --out PREPARED'"),
        ("notes/todo.txt", "is a file; run 'trainer prepare DATA --out PREPARED'"),
    ],
)
def test_it_is_told_what_it_is(
    place: Path, wrong: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert _complaint(Path(wrong)).startswith(expected)


def test_a_folder_around_a_tree_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "data/tree")
    assert _complaint(tmp_path / "data").startswith(f"holds the raw tree {tmp_path}/data/tree; run")


def test_a_folder_that_happens_to_be_called_depth_makes_no_tree(tmp_path: Path) -> None:
    (tmp_path / "Depth").mkdir()
    (tmp_path / "work/empty").mkdir(parents=True)
    assert _complaint(tmp_path / "work/empty").startswith("is empty")


def test_the_command_works_from_within_the_tree_and_leaves_it_as_it_was(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = place / "my tree"
    before = sorted(tree.rglob("*"))
    monkeypatch.chdir(tree)
    command = re.search(r"run '(trainer prepare .*)', and give that", _complaint(Path("Surface")))
    assert command is not None
    words = shlex.split(command[1])
    assert main([*words[1:], "--no-cache", "--workers", "1"]) == 0
    assert PreparedIndex.load(words[-1]).samples
    assert sorted(tree.rglob("*")) == before


def test_training_on_the_tree_it_stands_in_prepares_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    assert SafetripDataModule(".").prepared_folder == tmp_path / "tree-prepared"
