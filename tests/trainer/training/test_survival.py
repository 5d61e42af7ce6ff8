"""A run that is killed, that runs out of disk, that meets a NaN: through the real command."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from safetrip_trainer.cli import main
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.model.checkpoint import load_checkpoint

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "demo.yaml"


def _words(index: PreparedIndex, out: Path, name: str, *more: str) -> list[str]:
    settings = f"""fit --config {CONFIG} --data.root {index.prepared} --data.size [64,96] --data.batch_size 2
        --data.num_workers 0 --out {out} --run-name {name} --trainer.enable_progress_bar false
        --trainer.limit_val_batches 1 --model.init_args.width_mult 0.35
        --model.init_args.decoder_channels 32 --trainer.max_epochs 2"""
    return [*settings.split(), *more]


def _start(words: list[str], limit_file_size: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test in the background would pass on "ignored"
        if limit_file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_size, limit_file_size))

    return subprocess.Popen(
        [sys.executable, "-m", "safetrip_trainer", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints" / name)["state_dict"]


def _finish(words: list[str]) -> None:
    process = _start(words)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-2000:]


@pytest.fixture(scope="module")
def whole(prepared: PreparedIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that nothing disturbed, with averaged weights."""
    out = tmp_path_factory.mktemp("whole")
    _finish(_words(prepared, out, "run", "--ema", "0.9"))
    return out / "run"


def test_killed_in_mid_epoch_and_resumed_it_ends_with_the_same_weights(
    whole: Path, prepared: PreparedIndex, tmp_path: Path
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    words = _words(prepared, tmp_path, "run", "--ema", "0.9", "--save-every", "2")
    process = _start(words)
    steps_per_epoch = load_checkpoint(whole / "checkpoints" / "last.ckpt")["global_step"] // 2
    deadline, step = time.monotonic() + 500, 0
    while step <= steps_per_epoch or step % steps_per_epoch == 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint in mid-epoch"
        time.sleep(0.02)
        # It stands still while it is looked at: reading takes as long as some steps.
        process.send_signal(signal.SIGSTOP)
        step = load_checkpoint(last)["global_step"] if last.exists() else 0
        if step <= steps_per_epoch or step % steps_per_epoch == 0:
            process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # What it had written until then is whole, whenever it died.
    step = load_checkpoint(last)["global_step"]
    assert steps_per_epoch < step < 2 * steps_per_epoch
    _finish([*words, "--ckpt_path", str(last)])
    expected, got = _weights(whole), _weights(tmp_path / "run")
    assert expected.keys() == got.keys()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []


def test_averaged_weights_are_not_taken_for_the_trained_ones(
    whole: Path, prepared: PreparedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = str(whole / "checkpoints" / "last.ckpt")
    assert main([*_words(prepared, tmp_path, "run"), "--ckpt_path", last]) == 2
    assert "averages its weights; go on with its --ema" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_and_how_to_go_on(
    number: signal.Signals, status: int, prepared: PreparedIndex, tmp_path: Path
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    process = _start(_words(prepared, tmp_path, "run", "--save-every", "2", "--trainer.max_epochs", "500"))
    deadline = time.monotonic() + 300
    while not last.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors[-2000:]
    assert f"to go on from here: --ckpt_path {last}" in errors
    assert load_checkpoint(last)["global_step"] > 0


def test_the_same_seed_gives_the_same_numbers(prepared: PreparedIndex, tmp_path: Path) -> None:
    for name, seed in (("first", "0"), ("again", "0"), ("other", "1")):
        short = ("--trainer.limit_train_batches", "3", "--seed_everything", seed)
        assert main(_words(prepared, tmp_path, name, *short, "--trainer.max_epochs", "1")) == 0
    first, again, other = (_weights(tmp_path / name) for name in ("first", "again", "other"))
    assert [key for key in first if not torch.equal(first[key], again[key])] == []
    assert (tmp_path / "first/metrics.csv").read_text() == (tmp_path / "again/metrics.csv").read_text()
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_is_whole(
    prepared: PreparedIndex, tmp_path: Path
) -> None:
    words = _words(prepared, tmp_path, "run", "--trainer.limit_train_batches", "2")
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    # The kernel refuses to let any file grow beyond half a checkpoint.
    process = _start([*words, "--ckpt_path", str(last)], limit_file_size=len(before) // 2)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 2
    (line,) = [text for text in errors.splitlines() if "error:" in text]
    assert ".ckpt: the checkpoint cannot be written (File too large); the earlier one there is whole" in line
    assert "Traceback" not in errors
    assert last.read_bytes() == before
    assert sorted(item.name for item in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_weight_that_is_no_number_stops_the_run_and_is_found_by_replay(
    prepared: PreparedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _words(prepared, tmp_path, "run", "--trainer.limit_train_batches", "2")
    assert main([*words, "--trainer.max_epochs", "1"]) == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    broken = load_checkpoint(last)
    broken["state_dict"]["net.decoder.adapters.3.weight"][5, 2] = float("nan")
    torch.save(broken, last.with_name("broken.ckpt"))
    capsys.readouterr()
    assert main([*words, "--ckpt_path", str(last.with_name("broken.ckpt"))]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "error:" in text]
    assert "step 2 (epoch 1): the loss is nan" in line
    (saved,) = (tmp_path / "run").glob("nonfinite-*.safetensors")
    assert f"trainer replay {saved}" in line
    assert any(sample.image in line for sample in prepared.split("train"))
    assert main(["replay", str(saved), "--json", str(tmp_path / "why.json")]) == 0
    said = capsys.readouterr().out
    assert "weights: no number in net.decoder.adapters.3.weight" in said
    assert "first layer: net.decoder.adapters.3 (Conv2d)\n" in said
    assert "loss segmentation: nan" in said
    assert (tmp_path / "why.json").is_file()


def test_replay_names_the_sample_and_refuses_other_files(
    prepared: PreparedIndex,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = SafetripDataset.__getitem__
    sample = next(sample for sample in prepared.split("train") if sample.source == "polygon")
    bad, image = sample.id, sample.image

    def spoilt(self: SafetripDataset, position: int) -> dict[str, object]:
        given = item(self, position)
        if given["name"] == bad:
            # A transform that gives floats, and one that is no number among them.
            given["image"] = given["image"].float()
            given["image"][0, 3, 3] = float("inf")
        return given

    monkeypatch.setattr(SafetripDataset, "__getitem__", spoilt)
    assert main(_words(prepared, tmp_path, "run")) == 2
    assert image in capsys.readouterr().err
    (saved,) = (tmp_path / "run").glob("nonfinite-*.safetensors")
    assert main(["replay", str(saved)]) == 0
    said = capsys.readouterr().out
    assert f"(in {prepared.root})\n" in said
    assert f"image: no number in {image}\n" in said
    torch.save({"a": torch.ones(1)}, tmp_path / "other.ckpt")
    assert main(["replay", str(tmp_path / "other.ckpt")]) == 2
    assert "is no step that" in capsys.readouterr().err
