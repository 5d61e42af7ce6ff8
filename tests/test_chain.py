"""The whole chain through the real commands, small: every link leaves what the next one needs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from safetrip_sdk.bundle import Bundle
from safetrip_sdk.engines import list_engines
from safetrip_trainer.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short demo."""
    out = tmp_path_factory.mktemp("demo") / "out"
    words = ["demo", "--out", str(out), "--scenes", "40", "--epochs", "1", "--teacher-epochs", "1"]
    # After one epoch the net need not have learnt (status 1); a step that fails is status 2.
    assert main(words) in (0, 1)
    return out


def test_every_step_went_through(demo: Path) -> None:
    steps = json.loads((demo / "steps.json").read_text())
    assert len(steps) == 16
    assert all(step["status"] == 0 for step in steps if "compare" not in step["command"])


def test_the_bundle_is_whole_and_tells_its_story(demo: Path) -> None:
    bundle = Bundle.open(demo / "sidewalk.bundle")
    bundle.verify()
    manifest = bundle.manifest
    assert set(manifest.precisions) == {"fp32", "fp16", "int8"}
    confidence = manifest.calibration["confidence"]
    assert set(confidence) == set(manifest.precisions)
    assert all(
        f"{100 * fit['ece_after']:.1f} % after" in (demo / "report.html").read_text()
        for fit in confidence.values()
    )
    sizes = {name: manifest.files[info.file].size for name, info in manifest.precisions.items()}
    assert sizes["int8"] < 0.35 * sizes["fp32"]
    assert "compare" in manifest.precisions["int8"].metrics
    assert manifest.calibration["frames_sha256"]
    assert manifest.latency, "the budget's measurement is recorded"
    assert "not for a robot" in manifest.training["note"]
    assert len(list_engines(bundle)) == 3


def test_the_robots_output_is_there(demo: Path) -> None:
    lines = [json.loads(line) for line in (demo / "run.jsonl").read_text().splitlines()]
    capture = cv2.VideoCapture(str(demo / "run.mp4"))
    assert len(lines) == int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 90
    assert [line["frame_id"] for line in lines] == list(range(90))
    assert all(sum(line["classes"].values()) == pytest.approx(1, abs=1e-3) for line in lines)


def test_the_report_stands_alone_and_is_honest(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert "not for a robot" in page
    for link in ('src="http', 'href="http', "url(http"):
        assert link not in page
    assert page.count("data:image/png;base64,") >= 4
    for word in ("openvino", "onnxruntime", "int8", "IoU by class", "Budget"):
        assert word in page


def test_another_folder_is_not_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
