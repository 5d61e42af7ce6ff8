"""Each run has a folder of its own, and a resumed one goes on where its checkpoint lies."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from safetrip_trainer.cli import main
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.training.run_folder import claim_run_folder, folder_of_checkpoint, hold_run_folder

CONFIG = Path(__file__).parents[3] / "configs" / "demo.yaml"


def test_runs_that_start_at_once_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim_run_folder, [tmp_path / "out" / "run"] * 8))
    assert sorted(item.name for item in claimed) == ["run", *(f"run-{number}" for number in range(2, 9))]


def test_other_processes_of_a_run_claim_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert claim_run_folder(tmp_path / "run") == tmp_path / "run"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("checkpoint", "own"),
    [
        ("runs/a/checkpoints/last.ckpt", "runs/a"),
        ("runs/a-12/checkpoints/last.ckpt", "runs/a-12"),
        ("last", "runs/a"),
        ("runs/b/checkpoints/last.ckpt", None),
        ("runs/a-b/checkpoints/last.ckpt", None),
        ("elsewhere/a/checkpoints/last.ckpt", None),
        ("runs/a/last.ckpt", None),
        ("s3://bucket/runs/a/checkpoints/last.ckpt", None),
    ],
)
def test_a_checkpoint_belongs_to_the_run_whose_folder_it_lies_in(
    checkpoint: str, own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert folder_of_checkpoint(Path("runs/a"), checkpoint) == (Path(own) if own else None)
    if "/" in checkpoint and ":" not in checkpoint:
        linked = str(tmp_path / "linked" / checkpoint)
        assert folder_of_checkpoint(Path("runs/a"), linked) == (Path(own) if own else None)


@pytest.mark.parametrize("words", [("--data.root", "nowhere"), ("--data.batch_size", "0")])
def test_a_run_that_never_began_leaves_no_folder(
    words: tuple[str, str], prepared: PreparedIndex, tmp_path: Path
) -> None:
    root = ("--data.root", str(prepared.prepared))
    assert main(["fit", "--config", str(CONFIG), *root, "--out", str(tmp_path), *words]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_training_is_not_gone_on_with(
    prepared: PreparedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "hydranet"
    run.mkdir()
    (run / "metrics.csv").write_text("of the run that is training")
    words = ("--data.root", str(prepared.prepared), "--out", str(tmp_path), "--run-name", "hydranet")
    with hold_run_folder(run):
        assert main(["fit", "--config", str(CONFIG), *words, "--ckpt_path", "last"]) == 2
    assert f"{run}: another process is training into it" in capsys.readouterr().err
    assert [file.name for file in run.iterdir()] == ["metrics.csv"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_that_outlives_its_run_does_not_hold_the_folder(tmp_path: Path) -> None:
    (asleep, wake), (heard, awake) = os.pipe(), os.pipe()
    with hold_run_folder(tmp_path):
        with pytest.raises(TrainerError, match="another process"), hold_run_folder(tmp_path):
            pass
        worker = os.fork()
        if not worker:
            os.close(wake)
            os.write(awake, b"x")
            os.read(asleep, 1)
            os._exit(0)
        os.read(heard, 1)
    with hold_run_folder(tmp_path):
        assert os.waitpid(worker, os.WNOHANG) == (0, 0)
    os.close(wake)
    os.waitpid(worker, 0)
    for descriptor in (asleep, heard, awake):
        os.close(descriptor)
