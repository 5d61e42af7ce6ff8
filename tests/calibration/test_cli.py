"""The verbs, through the command itself: real prepared frames, exit statuses, one clear line on bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from onnx import ModelProto

from safetrip_sdk.bundle import Bundle
from safetrip_trainer.cli import main
from tests.calibration.nets import make_manifest

ROOT = Path(__file__).parents[2]

BUDGET = """\
name: tiny
device: this machine
profile: x86-cpu-2core
frame_size: 96x128
latency_ms: {p50: %s}
frames: 20
backend: openvino
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    assert main(["synth", str(root / "scenes"), "--scenes", "12", "--size", "128x96"]) == 0
    assert main(["prepare", str(root / "scenes"), "--out", str(root / "prepared"), "--workers", "1"]) == 0
    return root / "prepared"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: ModelProto, prepared: Path) -> Path:
    """A bundle with fp32, fp16 and int8, made by the command."""
    path = tmp_path_factory.mktemp("cli") / "toy.bundle"
    with Bundle.create(path, make_manifest()) as draft:
        draft.write("model.fp32.onnx", model.SerializeToString())
    report = path.with_name("calibrate.json")
    words = ["calibrate", str(path), str(prepared), "--precision", "fp16,int8", "--json", str(report)]
    assert main(words) == 0
    assert json.loads(report.read_text())["frames"] >= 1
    return path


def test_calibrate_adds_both_precisions_from_training_frames(made: Path) -> None:
    manifest = Bundle.open(made).manifest
    assert set(manifest.precisions) == {"fp32", "fp16", "int8"}
    assert all("_" in name for name in manifest.calibration["frames"])


def test_what_confidence_lacks_is_known_before_the_bundle_changes(
    made: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(prepared.parent / "scenes/Depth", tmp_path / "scenes/Depth")
    assert main(["prepare", str(tmp_path / "scenes"), "--out", str(tmp_path / "prepared")]) == 0
    before = Bundle.open(made).manifest
    words = ["calibrate", str(made), str(tmp_path / "prepared"), "--precision", "int8", "--confidence"]
    assert main(words) == 2
    assert "confidence needs at least two frames with class labels" in capsys.readouterr().err
    assert Bundle.open(made).manifest == before


def test_an_unknown_precision_is_told_all_there_are(
    made: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(made), str(prepared), "--precision", "int4"]) == 2
    assert "int4: want fp16, int8, both (fp16,int8), or mixed" in capsys.readouterr().err


def test_compare_exits_by_its_thresholds(made: Path, prepared: Path, tmp_path: Path) -> None:
    loose, strict = tmp_path / "loose.yaml", tmp_path / "strict.yaml"
    loose.write_text("precisions: {int8: {label_agreement: 0.1}}\n")
    strict.write_text("precisions: {int8: {depth_error_to_fp32: 0.0}}\n")
    words = ["compare", str(made), str(prepared), "--backends", "onnxruntime", "--count", "2"]
    assert main([*words, "--thresholds", str(loose)]) == 0
    out = tmp_path / "compare.json"
    assert main([*words, "--thresholds", str(strict), "--json", str(out)]) == 1
    assert json.loads(out.read_text())["accepted"] is False
    assert Bundle.open(made).manifest.precisions["int8"].accepted is False


def test_a_bundle_that_cannot_be_written_costs_no_figures(
    made: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("safetrip_sdk.bundle.LOCK_TIMEOUT_S", 0.0)
    manifest, out = (made / "manifest.json").read_bytes(), tmp_path / "compare.json"
    words = ["compare", str(made), str(prepared), "--backend", "onnxruntime", "--count", "1"]
    with Bundle.edit(made):
        assert main([*words, "--json", str(out)]) == 2
        captured = capsys.readouterr()
        assert "another process is changing it" in captured.err
        assert "int8 onnxruntime" in captured.out
        assert {row["precision"] for row in json.loads(out.read_text())["results"]} == {
            "fp32",
            "fp16",
            "int8",
        }
        assert main([*words, "--dry-run"]) in (0, 1)
    assert (made / "manifest.json").read_bytes() == manifest


def test_a_split_without_frames_is_named_for_what_it_was_wanted(
    made: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(prepared.with_name("scenes")), "--out", str(tmp_path / "all"), "--workers", "1"]
    assert main([*words, "--val-fraction", "0"]) == 0
    capsys.readouterr()
    assert main(["compare", str(made), str(tmp_path / "all")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no frames for comparison: name a prepared set, or a split of it," in line


def test_bisect_lists_tensors(made: Path, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(made), str(prepared), "--bisect", "int8", "--tolerance", "1e-4"]) == 0
    assert "first beyond 0.0001: tensor" in capsys.readouterr().out


def test_budget_exits_0_or_1(made: Path, tmp_path: Path, prepared: Path) -> None:
    wide, narrow = tmp_path / "wide.yaml", tmp_path / "narrow.yaml"
    wide.write_text(BUDGET % 10_000)
    narrow.write_text(BUDGET % 0.0001)
    assert main(["budget", str(made), "--budget", str(wide), "--frames-from", str(prepared)]) == 0
    assert main(["budget", str(made), "--budget", str(narrow)]) == 1


def test_a_prediction_exits_by_the_budget(made: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "benchmarks/devices", tmp_path / "devices")
    (tmp_path / "budgets").mkdir()
    for name, p50, status in (("wide", 10_000, 0), ("narrow", 0.0001, 1)):
        file = tmp_path / "budgets" / f"{name}.yaml"
        file.write_text(BUDGET % p50)
        assert main(["budget", str(made), "--budget", str(file), "--predict"]) == status


def test_a_mixture_that_is_too_slow_exits_with_1(made: Path, tmp_path: Path, prepared: Path) -> None:
    bundle = tmp_path / "toy.bundle"
    shutil.copytree(made, bundle)
    shutil.copytree(ROOT / "benchmarks/devices", tmp_path / "devices")
    (tmp_path / "budgets").mkdir()
    (tmp_path / "any.yaml").write_text("precisions: {mixed: {label_agreement: 0.1}}\n")
    words = ["calibrate", str(bundle), str(prepared), "--precision", "mixed", "--count", "2"]
    words += ["--judge-count", "1", "--thresholds", str(tmp_path / "any.yaml")]
    for name, p50, status in (("wide", 10_000, 0), ("narrow", 0.0001, 1)):
        file = tmp_path / "budgets" / f"{name}.yaml"
        file.write_text(BUDGET % p50)
        assert main([*words, "--budget", str(file)]) == status


def test_confidence_is_fitted_on_the_split_to_judge_by(made: Path, tmp_path: Path, prepared: Path) -> None:
    bundle = tmp_path / "toy.bundle"
    shutil.copytree(made, bundle)
    words = ["calibrate", str(bundle), str(prepared), "--confidence", "--split", "val"]
    assert main([*words, "--judge-split", "train"]) == 0
    # Of the validation frames too few show a class that this net knows.
    assert main(words) == 2


def test_build_makes_an_engine_of_each_precision(made: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    assert main(["build", str(made), "--target", "rtx", "--frame", "96x128"]) == 0
    plans = [name for name in Bundle.open(made).manifest.files if name.endswith(".plan")]
    assert len(plans) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "BUNDLE", "nowhere"], "nowhere"),
        (["calibrate", "nowhere.bundle", "PREPARED"], "nowhere.bundle"),
        (["calibrate", "BUNDLE", "PREPARED", "--precision", "int4"], "int4"),
        (["calibrate", "BUNDLE", "PREPARED", "--method", "max"], "max"),
        (["compare", "BUNDLE", "PREPARED", "--thresholds", "none.yaml"], "none.yaml"),
        (["compare", "BUNDLE", "PREPARED", "--precisions", "mixed"], "mixed"),
        (["budget", "BUNDLE", "--budget", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    made: Path, prepared: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"BUNDLE": str(made), "PREPARED": str(prepared)}
    before = Bundle.open(made).manifest
    assert main([files.get(word, word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"trainer {words[0]}: error:")
    assert message in line
    assert Bundle.open(made).manifest == before
