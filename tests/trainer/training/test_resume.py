"""A run that cannot go on says why before it touches what the earlier one left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safetrip_trainer.cli import main
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import CheckpointError
from safetrip_trainer.training.resume import require_resumable

CONFIG = Path(__file__).parents[3] / "configs" / "demo.yaml"


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil"),))


def _checkpoint(path: Path, settings: dict[str, Any]) -> Path:
    own = {"state_dict": {}, "loops": {}, "optimizer_states": [], "pytorch-lightning_version": "2.6.0"}
    torch.save({**own, "epoch": 0, "global_step": 0, "hyper_parameters": settings}, path)
    return path


def test_what_is_no_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "foreign.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "foreign.ckpt").read_bytes()[:300])
    for name, why in (
        ("weights.safetensors", "holds weights alone"),
        ("foreign.ckpt", "is no run's checkpoint"),
        ("cut.ckpt", "no torch checkpoint, or cut short or damaged"),
        ("absent.ckpt", "no such checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}: {why}"):
            require_resumable(str(tmp_path / name))
    require_resumable("last")
    require_resumable(str(_checkpoint(tmp_path / "good.ckpt", {})))


def test_a_refused_resume_leaves_the_earlier_run_as_it_was(
    prepared: PreparedIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "student"
    run.mkdir(parents=True)
    for name in ("metrics.csv", "config.yaml"):
        (run / name).write_text("of the earlier run")
    torch.save({"state_dict": _Evil()}, "evil.ckpt")
    teacher = "safetrip_trainer.training.TeacherTask"
    _checkpoint(Path("teacher.ckpt"), {"_class_path": teacher, "variant": "mit-b0", "pretrained": False})
    words = ["fit", "--config", str(CONFIG), "--data.root", str(prepared.prepared), "--out", "runs"]
    for name, why in (
        ("absent.ckpt", "no such checkpoint"),
        ("evil.ckpt", "holds getattr, an object that would run code"),
        ("teacher.ckpt", "is of TeacherTask, the configuration trains HydraTask"),
    ):
        assert main([*words, "--ckpt_path", name]) == 2
        assert f"trainer fit: error: {name}: {why}" in capsys.readouterr().err
    assert not Path("evil").exists()
    assert sorted(item.name for item in run.iterdir()) == ["config.yaml", "metrics.csv"]
    assert all(item.read_text() == "of the earlier run" for item in run.iterdir())


def test_settings_that_a_checkpoint_brings_along_are_told(
    prepared: PreparedIndex,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"_class_path": "safetrip_trainer.training.HydraTask", "lr": 0.25, "width_mult": 0.5}
    checkpoint = _checkpoint(tmp_path / "last.ckpt", own)
    words = ["--data.root", str(prepared.prepared), "--out", str(tmp_path), "--model.init_args.lr", "0.125"]
    # It goes no further: there are no weights in it.
    assert main(["fit", "--config", str(CONFIG), *words, "--ckpt_path", str(checkpoint)]) == 2
    assert "--ckpt_path holds other weights than the model has" in capsys.readouterr().err
    told = next(message for message in caplog.messages if "its own settings" in message)
    assert "lr 0.25 (not 0.125)" in told
    assert "width_mult 0.5 (not 1.0)" in told
    assert "decoder_channels" not in told


@pytest.mark.parametrize(
    ("verb", "words", "why"),
    [
        ("validate", (), "--ckpt_path is missing"),
        ("predict", (), "--ckpt_path is missing"),
        ("fit", ("--data.batch_size", "0"), "data.batch_size 0: want 1 or more"),
        (
            "fit",
            ("--data.ratios", "{surface: 1, polygn: 1}"),
            "data.ratios: no source polygn; there are surface",
        ),
        ("fit", ("--data.ratios", "{surface: 1, depth: -1}"), "want shares, 0 or more, and one above 0"),
        ("fit", ("--data.ratios", "{surface: 0}"), "want shares, 0 or more, and one above 0"),
        ("fit", ("--data.zoom", "[0.5,2]"), "data.zoom [0.5, 2.0]: want [smallest, largest], 1 or more"),
        ("fit", ("--data.size", "[97,160]"), "97x160: height and width must be multiples of 32"),
        ("fit", ("--model.init_args.width_mult", "-1"), "width_mult -1.0: want a number above 0"),
        ("fit", ("--trainer.accelerator", "gpu"), "No supported gpu backend"),
    ],
)
def test_what_cannot_work_is_one_line_before_the_first_step(
    verb: str,
    words: tuple[str, ...],
    why: str,
    prepared: PreparedIndex,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "gpu" in words and torch.cuda.is_available():
        pytest.skip("there is one")
    data = ("--data.root", str(prepared.prepared), "--out", str(tmp_path))
    assert main([verb, "--config", str(CONFIG), *data, *words]) == 2
    line = next(
        item for item in capsys.readouterr().err.splitlines() if item.startswith(f"trainer {verb}: error")
    )
    assert why in line
