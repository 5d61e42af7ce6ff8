"""`trainer fit --quantize int8` and `--budget`, through the real command, as far as the bundle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from safetrip_sdk.bundle import Bundle
from safetrip_sdk.runtime import Runtime
from safetrip_trainer.cli import main
from safetrip_trainer.data.frames import PreparedFrames
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.model.hydranet import HydraNet
from safetrip_trainer.model.load import load_student
from safetrip_trainer.quantize import QuantizedNet

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("--model.init_args.width_mult", "0.35", "--model.init_args.decoder_channels", "32")


def _fit(out: Path, index: PreparedIndex, *words: str) -> int:
    return main(
        ["fit", "--config", str(ROOT / "configs" / "quantize.yaml"), "--data.root", str(index.prepared),
         "--data.size", "[64, 96]", "--data.batch_size", "4", "--data.num_workers", "0", "--out", str(out),
         "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", *words]
    )  # fmt: skip


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `trainer fit` leaves it: random weights, of another shape than the default."""
    torch.manual_seed(0)
    net = HydraNet(width_mult=0.35, decoder_channels=32, depth_head="log")
    torch.nn.init.normal_(net.segmentation.out.weight, std=0.5)  # classes that do not tie
    path = tmp_path_factory.mktemp("student") / "student.ckpt"
    settings = {"width_mult": 0.35, "decoder_channels": 32, "depth": {"head": "log"}, "lr": 0.5}
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": settings}, path)
    return path


def test_from_a_student_to_an_int8_bundle(
    student: Path,
    prepared: PreparedIndex,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ("--quantize", "int8", "--model.init_args.lr", "5e-4", "--ema", "0.9")
    assert _fit(tmp_path, prepared, *words, "--ckpt_path", str(student), "--trainer.max_epochs", "1") == 0
    run = tmp_path / "int8"
    last = run / "checkpoints" / "last.ckpt"
    net, record = load_student(last)
    assert isinstance(net, QuantizedNet)
    shared, _ = load_student(run / "weights.safetensors")
    assert isinstance(shared, QuantizedNet)
    assert shared.state_dict().keys() == net.state_dict().keys()
    # The rate given, not that which the student's checkpoint remembers.
    settings = record["hyper_parameters"]
    assert settings["lr"] == 5e-4
    # The net is the checkpoint's, and so are the losses that belong to it; what differs was said.
    assert (settings["width_mult"], settings["decoder_channels"], settings["depth"]["head"]) == (
        0.35,
        32,
        "log",
    )
    told = next(message for message in caplog.messages if "its own settings" in message)
    assert told.endswith(
        ": width_mult 0.35 (not 1.0), decoder_channels 32 (not 256), depth.head log (not sigmoid)"
    )
    started = {key: value for key, value in net.graph.initializers.items() if key.endswith(".weight")}
    trained = {item.name: item for item in net.float_model().graph.initializer}
    moved = [key for key, value in started.items() if trained[key] != value]
    assert len(moved) > 0.8 * len(started)  # chains that start near zero may take longer

    # The same command with its own checkpoint goes on with the run.
    assert _fit(tmp_path, prepared, *words, "--ckpt_path", str(last), "--trainer.max_epochs", "2") == 0
    resumed = torch.load(last, weights_only=True)
    assert resumed["epoch"] == 1
    # The average of both epochs' weights, and not a new one of the second's.
    assert int(resumed["averaging_state"]["n_averaged"]) == resumed["global_step"] > 2
    assert not (tmp_path / "int8-2").exists()

    bundle = tmp_path / "int8.bundle"
    assert main(["export", str(last), "--out", str(bundle)]) == 0
    assert "INT8" in capsys.readouterr().out
    manifest = Bundle.open(bundle).manifest
    assert manifest.calibration["method"] == "quantisation-aware training"
    assert manifest.calibration["precisions"]["int8"]["export"]["label_agreement_with_torch"] > 0.99
    with Runtime(bundle, backend="onnxruntime", precision="int8") as runtime:
        assert runtime(PreparedFrames(prepared, "val")[0].frame).labels.shape == (64, 96)
    assert main(["export", str(last), "--out", str(bundle), "--input-size", "96x96", "--overwrite"]) == 2
    assert "quantised at 64x96" in capsys.readouterr().err


def test_it_starts_from_a_student_and_trains_it_as_one(
    student: Path, prepared: PreparedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _fit(tmp_path, prepared, "--quantize", "int8") == 2
    assert "--ckpt_path" in capsys.readouterr().err
    slower = ("--ckpt_path", str(student), "--model.init_args.encoder_lr_factor", "0.1")
    assert _fit(tmp_path, prepared, "--quantize", "int8", *slower) == 2
    assert "encoder_lr_factor 0.1: an INT8 net is trained as one graph" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("from_student", [False, True])
def test_a_net_too_slow_for_its_device_is_not_trained(
    from_student: bool,
    student: Path,
    prepared: PreparedIndex,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "budgets").mkdir()
    (tmp_path / "devices").symlink_to(ROOT / "benchmarks" / "devices")
    budget = tmp_path / "budgets" / "tight.yaml"
    budget.write_text(
        "name: tight\ndevice: Orin Nano\nprofile: jetson-orin-nano-15w\nframe_size: 96x160\n"
        "latency_ms: {p50: 1.05}\n"
    )
    # A student's shape is its own: the same net is judged, whatever the configuration says.
    net = (
        ("--quantize", "int8", "--ckpt_path", str(student)) if from_student else ("--quantize", "off", *SMALL)
    )
    words = (*net, "--data.size", "[256, 384]", "--budget", str(budget))
    assert _fit(tmp_path / "runs", prepared, *words) == 2
    said = capsys.readouterr().err
    assert "too slow: 1." in said
    assert "--model.init_args" not in said
    assert re.search(r"--data.size \d+x\d+ \(", said)
    assert "--over-budget warn" in said
    assert not list((tmp_path / "runs").rglob("*.ckpt"))
