"""`trainer fit` and what follows, through the real command, on a small tree."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import default_collate

from safetrip_sdk.bundle import Bundle
from safetrip_trainer.cli import main
from safetrip_trainer.data.augment import evaluation_transform
from safetrip_trainer.data.dataset import SafetripDataset
from safetrip_trainer.data.images import read_gray
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.model.checkpoint import load_checkpoint
from safetrip_trainer.model.hydranet import MAX_DEPTH
from safetrip_trainer.model.load import load_segmenter, load_student
from safetrip_trainer.model.preprocess import resize
from safetrip_trainer.training import HydraTask

ROOT = Path(__file__).resolve().parents[3]


def _fit(config: str, out: Path, index: PreparedIndex, *words: str) -> int:
    return main(
        ["fit", "--config", str(ROOT / "configs" / config), "--data.root", str(index.prepared),
         "--data.size", "64x96", "--data.batch_size", "4", "--data.num_workers", "0", "--out", str(out),
         "--trainer.enable_progress_bar", "false", *words]
    )  # fmt: skip


SMALL = ("--model.init_args.width_mult", "0.35", "--model.init_args.decoder_channels", "32")


@pytest.fixture(scope="module")
def student(prepared: PreparedIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    out = tmp_path_factory.mktemp("fit")
    assert _fit("demo.yaml", out, prepared, *SMALL, "--run-name", "student", "--trainer.max_epochs", "2") == 0
    return out / "student"


def _metrics(run: Path) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    columns.setdefault(name, []).append(float(value))
    return columns


def _contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_leaves_its_record(student: Path, prepared: PreparedIndex) -> None:
    for name in ("config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (student / name).is_file(), name
    assert list((student / "tensorboard").glob("events*"))
    metrics = _metrics(student)
    assert len(metrics["train/loss"]) == 2
    assert {"val/miou", "val/delta1", "val/rmse", "val/iou/sidewalk"} <= set(metrics)
    record = load_checkpoint(student / "checkpoints" / "last.ckpt")
    assert record["provenance"]["data_hash"] == prepared.data_hash
    assert record["hyper_parameters"]["decoder_channels"] == 32
    # The whole configuration, the trainer's part too.
    assert yaml.safe_load(record["config"])["trainer"]["max_epochs"] == 2
    # The learning rate moves with each step, and the best epoch is that of the highest score.
    assert record["lr_schedulers"][0]["last_epoch"] == record["global_step"] > 2
    best = load_checkpoint(student / "checkpoints" / "best.ckpt")
    assert best["epoch"] == int(np.argmax(metrics["val/score"]))


def test_both_tasks_are_learnt_from_samples_that_each_have_one(prepared: PreparedIndex) -> None:
    """One batch, many steps: each task's loss falls although no image has all labels."""
    torch.manual_seed(0)
    chosen = [
        next(item for item in prepared.samples if item.source == name) for name in ("surface", "polygon")
    ]
    chosen += [item for item in prepared.samples if item.source == "depth"][:2]
    dataset = SafetripDataset(prepared, chosen, evaluation_transform((64, 96)))
    batch = default_collate([dataset[position] for position in range(4)])
    task = HydraTask(width_mult=0.35, decoder_channels=32, init_weights="random")
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    history = []
    for _ in range(30):
        losses = task.losses(batch)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert history[-1]["segmentation"] < 0.5 * history[0]["segmentation"]
    assert history[-1]["depth"] < 0.7 * history[0]["depth"]


def test_a_second_run_does_not_overwrite_the_first(student: Path, prepared: PreparedIndex) -> None:
    before = _contents(student)
    short = ("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1")
    named = ("--run-name", "student", "--trainer.max_epochs", "1")
    assert _fit("demo.yaml", student.parent, prepared, *SMALL, *short, *named) == 0
    second = student.with_name("student-2")
    assert (second / "metrics.csv").is_file()
    # Nor does going on with it by its own configuration, as the documentation says.
    last = second / "checkpoints" / "last.ckpt"
    words = ["--config", str(second / "config.yaml"), "--ckpt_path", str(last), "--trainer.max_epochs", "2"]
    assert main(["fit", *words]) == 0
    assert load_checkpoint(last)["epoch"] == 1
    # What it leaves starts a new run, and not this one again.
    config = yaml.safe_load((second / "config.yaml").read_text())
    assert (config["run_name"], config["ckpt_path"]) == ("student-2", None)
    assert _contents(student) == before


def test_validating_leaves_the_runs_record_alone(
    student: Path, prepared: PreparedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _contents(student)
    words = ["--config", str(student / "config.yaml"), "--trainer.enable_progress_bar", "false"]
    best = str(student / "checkpoints" / "best.ckpt")
    assert main(["validate", *words, "--ckpt_path", best, "--trainer.limit_val_batches", "1"]) == 0
    assert "val/miou" in capsys.readouterr().out
    assert _contents(student) == before


def test_predict_writes_what_the_net_says_of_every_validation_sample(
    student: Path, prepared: PreparedIndex
) -> None:
    best = student / "checkpoints" / "best.ckpt"
    words = ["--config", str(student / "config.yaml"), "--trainer.enable_progress_bar", "false"]
    assert main(["predict", *words, "--ckpt_path", str(best)]) == 0
    folder = student / "predictions" / "validation"
    samples = prepared.split("val")
    assert len(list(folder.rglob("*_labels.png"))) == len(list(folder.rglob("*_depth.png"))) == len(samples)
    net, _ = load_student(best)
    height, width = 64, 96
    item = SafetripDataset(prepared, samples[:1], evaluation_transform((height, width)))[0]
    with torch.inference_mode():
        output = net(item["image"][None])
        logits, depth = (resize(plane.float(), (height, width)) for plane in output)
    labels = read_gray(folder / f"{samples[0].id}_labels.png")
    assert (labels == logits.argmax(1)[0].numpy()).mean() > 0.999
    millimetres = read_gray(folder / f"{samples[0].id}_depth.png", np.uint16)
    np.testing.assert_allclose(millimetres, depth[0, 0].numpy() * MAX_DEPTH * 1000, atol=2)


def test_resume_goes_on_in_the_same_folder(prepared: PreparedIndex, tmp_path: Path) -> None:
    common = (*SMALL, "--run-name", "run", "--trainer.limit_val_batches", "1")
    assert _fit("demo.yaml", tmp_path, prepared, *common, "--trainer.max_epochs", "1") == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    steps = load_checkpoint(last)["global_step"]
    assert (
        _fit("demo.yaml", tmp_path, prepared, *common, "--trainer.max_epochs", "2", "--ckpt_path", str(last))
        == 0
    )
    assert load_checkpoint(last)["global_step"] == 2 * steps
    assert (tmp_path / "run" / "metrics.before-resume-1.csv").is_file()
    assert "2 epochs" in (tmp_path / "run" / "report.html").read_text()
    # Once more there is nothing left to do, and nothing is lost.
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    words = (*common, "--trainer.max_epochs", "2", "--ckpt_path", str(last))
    assert _fit("demo.yaml", tmp_path, prepared, *words) == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    assert "2 epochs" in (tmp_path / "run" / "report.html").read_text()


def test_checkpoint_to_evaluation_and_bundle(student: Path, prepared: PreparedIndex, tmp_path: Path) -> None:
    checkpoint, data = str(student / "checkpoints" / "best.ckpt"), str(prepared.prepared)
    assert main(["evaluate", checkpoint, data, "--json", str(tmp_path / "torch.json"),
                 "--overlays", str(tmp_path / "overlays"), "--overlay-count", "2"]) == 0  # fmt: skip
    bundle = tmp_path / "small.bundle"
    assert main(["export", checkpoint, "--out", str(bundle), "--note", "a test's"]) == 0
    manifest = Bundle.open(bundle).manifest
    assert (manifest.input.height, manifest.input.width) == (64, 96)
    assert manifest.training["note"] == "a test's"
    assert "max_epochs: 2" in manifest.training["config"]
    assert manifest.training["provenance"]["data_hash"] == prepared.data_hash
    assert main(["evaluate", str(bundle), data, "--precision", "fp32", "--backend", "onnxruntime",
                 "--json", str(tmp_path / "runtime.json")]) == 0  # fmt: skip
    torch_result = json.loads((tmp_path / "torch.json").read_text())
    runtime_result = json.loads((tmp_path / "runtime.json").read_text())
    # The robot's runtime scores what the trainer scores: preprocessing, resizing and units are the same.
    assert runtime_result["segmentation"]["miou"] == pytest.approx(
        torch_result["segmentation"]["miou"], abs=2e-3
    )
    assert runtime_result["depth"]["rmse"] == pytest.approx(torch_result["depth"]["rmse"], rel=1e-3)
    assert len(list((tmp_path / "overlays").glob("*.png"))) == 2


def test_teacher_labels_the_depth_samples_and_resumes(prepared: PreparedIndex, tmp_path: Path) -> None:
    assert _fit("demo_teacher.yaml", tmp_path, prepared, "--run-name", "teacher", "--trainer.max_epochs", "1",
                "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1") == 0  # fmt: skip
    checkpoint = str(tmp_path / "teacher" / "checkpoints" / "last.ckpt")
    words = ["pseudo-label", checkpoint, str(prepared.prepared), "--input-size", "64x96"]
    assert main([*words, "--json", str(tmp_path / "first.json")]) == 0
    depth = [sample for sample in prepared.samples if sample.source == "depth"]
    assert json.loads((tmp_path / "first.json").read_text())["written"] == len(depth)
    teacher, record = load_segmenter(checkpoint)
    assert not any(part.training for part in teacher.modules())  # no dropout in what it says
    assert (
        prepared.pseudo_teacher()["teacher_sha256"]
        == hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    )
    assert record["provenance"]["start"] == "random"
    labels, confidence = prepared.load_pseudo(depth[0])
    assert labels.max() < 24
    assert confidence.min() >= int(255 / 24)
    prepared.pseudo_paths(depth[0])[1].unlink()
    assert main([*words, "--json", str(tmp_path / "second.json")]) == 0
    assert json.loads((tmp_path / "second.json").read_text()) | {"confident_share": 0} == {
        "written": 1, "kept": len(depth) - 1, "confident_share": 0}  # fmt: skip
    # The student's loader takes the checkpoint for what it is not.
    assert main(["export", checkpoint, "--out", str(tmp_path / "no.bundle")]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "absent.ckpt", "--out", "x.bundle"], "absent.ckpt: no such checkpoint"),
        (["evaluate", "absent.ckpt", "nowhere"], "absent.ckpt: no such checkpoint or bundle"),
        (["evaluate", __file__, "nowhere"], "nowhere"),
        (["pseudo-label", __file__, "nowhere"], "nowhere"),
    ],
)
def test_bad_paths_get_one_line(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_configured_recipe_is_the_original_projects() -> None:
    config = yaml.safe_load((ROOT / "configs" / "hydranet.yaml").read_text())
    model, data, trainer = config["model"]["init_args"], config["data"], config["trainer"]
    assert (model["lr"], model["weight_decay"], model["warmup_epochs"]) == (1e-3, 1e-4, 5)
    assert (model["berhu_threshold"], trainer["gradient_clip_val"], trainer["max_epochs"]) == (0.1, 1.0, 100)
    assert (data["size"], data["batch_size"]) == ([512, 512], 8)


def test_weighting_by_uncertainty_is_trained(prepared: PreparedIndex, tmp_path: Path) -> None:
    words = ("--trainer.max_epochs", "1", "--trainer.limit_val_batches", "1", "--run-name", "kendall")
    balance = ("--model.init_args.balance", "uncertainty")
    own = ("--trainer.callbacks", "Timer")  # one callback, not in a list; an enum is among its settings
    assert _fit("demo.yaml", tmp_path, prepared, *SMALL, *words, *balance, *own) == 0
    state = torch.load(tmp_path / "kendall" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert float(state["balance.log_variance.segmentation"]) != 0.0


def test_two_processes_train_as_one_run(prepared: PreparedIndex, tmp_path: Path) -> None:
    """DDP over gloo, through the real command: Lightning starts the second process by itself."""
    config = str(ROOT / "configs" / "demo.yaml")
    words = f"""
        --data.root {prepared.prepared} --data.batch_size 1 --data.num_workers 0 --trainer.devices 2
        --trainer.strategy ddp --trainer.max_epochs 1 --out {tmp_path} --run-name two"""
    command = [sys.executable, "-m", "safetrip_trainer", "fit", "--config", config, *SMALL, *words.split()]
    # One process gets the images with depth, the other those with classes.
    command += ["--data.size", "[64, 96]", "--data.ratios", "{surface: 1, depth: 1}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["two"]
    train = [sample for sample in prepared.split("train") if sample.source in ("surface", "depth")]
    assert load_checkpoint(tmp_path / "two" / "checkpoints" / "last.ckpt")["global_step"] == len(train) // 2
    metrics = _metrics(tmp_path / "two")
    assert "val/miou" in metrics
    # What is logged is the loss of the whole batch: near that of a net that knows nothing yet.
    (segmentation,) = metrics["train/segmentation_loss"]
    assert segmentation == pytest.approx(np.log(24), rel=0.25)
    assert metrics["train/loss"] == [pytest.approx((segmentation + metrics["train/depth_loss"][0]) / 2)]


def test_weights_and_biases_goes_offline_where_the_network_is_closed(
    prepared: PreparedIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    short = (
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "1",
        "--trainer.limit_val_batches",
        "1",
    )
    online = ("--run-name", "w", "--wandb", "offline", "--project", "p")
    assert _fit("demo.yaml", tmp_path, prepared, *SMALL, *short, *online) == 0
    assert list((tmp_path / "w" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_run_ends_with_pictures_a_report_and_weights_for_others(
    prepared: PreparedIndex, tmp_path: Path
) -> None:
    log = ("--model.init_args.depth.head", "log", "--ema", "0.9", "--pictures-every", "1")
    short = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2")
    assert _fit("demo.yaml", tmp_path, prepared, *SMALL, *log, *short, "--run-name", "run") == 0
    run = tmp_path / "run"
    pictures = sorted((run / "predictions" / "epoch-0000").glob("*.png"))
    assert len(pictures) == 4
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4
    assert 'src="http' not in page
    assert 'href="http' not in page
    for said in ("mIoU over the classes that occur", prepared.data_hash, "decoder_channels: 32", "sidewalk"):
        assert said in page, said
    # The weights load by themselves, and say what the checkpoint says: the averaged net with its log head.
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 96)
    (ours, _), (theirs, record) = (
        load_student(run / name) for name in ("checkpoints/best.ckpt", "weights.safetensors")
    )
    assert record["provenance"]["data_hash"] == prepared.data_hash
    for expected, got in zip(ours(image), theirs(image)):
        assert torch.equal(expected, got)
    events = b"".join(item.read_bytes() for item in (run / "tensorboard").glob("events*"))
    assert f"predictions/{pictures[0].stem}".encode() in events


def test_options_reach_the_optimizer_and_the_loss(prepared: PreparedIndex, tmp_path: Path) -> None:
    """The encoder's own rate, hard pixels and a teacher's soft targets, in one short run each way."""
    short = (
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "2",
        "--trainer.limit_val_batches",
        "1",
    )
    assert _fit("demo.yaml", tmp_path, prepared, *SMALL, *short, "--run-name", "teacher") == 0
    teacher = tmp_path / "teacher" / "checkpoints" / "last.ckpt"
    options = f"""--model.init_args.encoder_lr_factor 0.1 --model.init_args.segmentation.loss ohem
        --model.init_args.depth.silog_weight 0.5 --model.init_args.distill.teacher_ckpt {teacher}"""
    assert _fit("demo.yaml", tmp_path, prepared, *SMALL, *short, "--run-name", "run", *options.split()) == 0
    record = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    rest, encoder = record["optimizer_states"][0]["param_groups"]
    assert encoder["initial_lr"] == pytest.approx(0.1 * rest["initial_lr"])
    assert rest["weight_decay"] == encoder["weight_decay"] == record["hyper_parameters"]["weight_decay"]
    names = [key for key in record["state_dict"] if "encoder" in key and "running" not in key]
    assert len(encoder["params"]) == len([name for name in names if "num_batches" not in name])
    assert record["hyper_parameters"]["segmentation"]["loss"] == "ohem"
    assert len(_metrics(tmp_path / "run")["train/distillation_loss"]) == 1
    assert not [key for key in record["state_dict"] if "teacher" in key]
