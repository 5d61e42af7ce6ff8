"""Recording, replay and view through the command, in a process of its own where it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from safetrip_sdk.cli import main
from safetrip_sdk.recording import RecordingSource
from tests.sdk.test_cli import COMMAND
from tests.sdk.test_live import MjpegServer

SOURCE = "synthetic://320x256?fps=0&frames=12"


@pytest.fixture(scope="module")
def recording(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "run.mcap"
    words = ["run", str(tiny_bundle), "--source", SOURCE, "--record", str(path), "--record-frames", "png"]
    assert main([*words, "--backend", "openvino", "--precision", "fp32"]) == 0
    return path


def check(bundle: Path, path: Path, *more: str) -> int:
    return main(["run", str(bundle), "--source", f"mcap://{path}", "--check", *more])


def test_a_recording_replays_bit_by_bit(
    tiny_bundle: Path, recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "stats.json"
    words = ("--backend", "openvino", "--precision", "fp32", "--stats", str(out))
    assert check(tiny_bundle, recording, *words) == 0
    assert "same: 0 of 12 frames failed (bit by bit)" in capsys.readouterr().err
    report = json.loads(out.read_text())
    assert report["check"] == {
        "ok": True,
        "exact": True,
        "frames": 12,
        "missing": 0,
        "different": 0,
        "failed": [],
        "agreement": 1.0,
        "least_agreement": 0.99,
        "changed": [],
    }
    assert report["runtime"]["frames"] == report["source"]["frames"] == 12


def test_another_backend_is_held_to_agreement(
    tiny_bundle: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tiny_bundle, recording, "--backend", "onnxruntime", "--precision", "fp16") == 0
    errors = capsys.readouterr().err
    assert "not as recorded: backend: openvino -> onnxruntime" in errors
    assert "labels agree on 99.00% of each frame" in errors


def test_other_results_fail_with_status_1(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that sees one class more: the same graph, shifted by a border of its resize."""
    from tests.sdk.conftest import deploy_graph, make_bundle

    other = make_bundle(tmp_path / "other.bundle", {"fp32": deploy_graph((32, 40))}, (32, 40))
    assert check(other, recording) == 1
    errors = capsys.readouterr().err
    assert "DIFFERENT: 12 of 12 frames failed" in errors
    assert "model_sha256" in errors


def test_what_check_wants(
    tiny_bundle: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lossy.mcap"
    assert main(["run", str(tiny_bundle), "--source", SOURCE, "--record", str(path)]) == 0
    assert check(tiny_bundle, path) == 2
    assert "its frames are JPEG" in capsys.readouterr().err
    assert check(tiny_bundle, path, "--min-agreement", "0.9") == 0
    assert main(["run", str(tiny_bundle), "--source", SOURCE, "--check"]) == 2
    assert "--check: wants a recording" in capsys.readouterr().err
    assert check(tiny_bundle, recording, "--policy", "latest") == 2
    assert main(["run", str(tiny_bundle), "--source", SOURCE, "--record", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_intrinsics_go_into_the_recording_and_into_the_lines(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.mcap"
    words = ["run", str(tiny_bundle), "--source", SOURCE, "--intrinsics", "300,301,159.5,100"]
    assert main([*words, "--record", str(path), "--json", "-"]) == 0
    source = RecordingSource(path)
    while source.grab() is not None:
        pass
    assert source.intrinsics is not None
    assert (source.intrinsics.fx, source.intrinsics.fy) == (300, 301)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    hazards = [item for row in rows for item in row["hazards"]]
    assert hazards
    assert all({"distance_m", "bearing_deg", "size_m"} <= set(item) for item in hazards)
    assert all(len(row["free_m"]) == 9 for row in rows)
    assert main([*words[:-1], "1,2,3"]) == 2


def test_killed_in_mid_write_the_file_still_opens(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    words = ["run", str(tiny_bundle), "--source", "synthetic://640x480?fps=0", "--record", str(path)]
    process = subprocess.Popen([*COMMAND, *words, "--record-frames", "png"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < 3 << 20:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    source = RecordingSource(path)
    results = []
    while source.grab() is not None:
        results.append(source.recorded)
    assert len(results) >= 10
    assert all(item is not None for item in results[:-1])
    # Checked as far as it goes; `safetrip recover` then makes it whole for other readers, too.
    assert check(tiny_bundle, path) == 0
    fixed = tmp_path / "fixed.mcap"
    assert main(["recover", str(path), "--out", str(fixed)]) == 0
    with AnyReader([fixed], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
    assert counts["/safetrip/image/compressed"] == len(results)
    assert check(tiny_bundle, fixed) == 0


def test_a_view_of_a_run(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.rrd"
    words = ["run", str(tiny_bundle), "--source", "synthetic://320x256?fps=20&frames=10"]
    assert main([*words, "--view", str(path)]) == 0
    assert path.stat().st_size > 5000


def test_ctrl_c_completes_the_recording(tiny_bundle: Path, tmp_path: Path) -> None:
    path, view = tmp_path / "run.mcap", tmp_path / "run.rrd"
    words = ["run", str(tiny_bundle), "--source", "synthetic://320x256?fps=30", "--record", str(path)]
    process = subprocess.Popen(
        [*COMMAND, *words, "--view", str(view), "--stats", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    # The chunk with the first frames is in the file.
    while not path.exists() or path.stat().st_size < 1 << 20:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "frames/s" in errors
    assert "Traceback" not in errors
    assert json.loads(out)["runtime"]["frames"] > 0
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
    assert counts["/safetrip/depth"] == counts["/diagnostics"] > 0
    assert view.stat().st_size > 0


def test_what_was_seen_before_a_camera_was_gone_is_kept(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = MjpegServer()
    server.start()
    threading.Timer(1.5, server.kill).start()
    video, lines, stats = tmp_path / "a.avi", tmp_path / "a.jsonl", tmp_path / "s.json"
    words = ["run", str(tiny_bundle), "--source", server.uri + "#stall=0.5&give_up=1.5"]
    outputs = ["--video", str(video), "--json", str(lines), "--stats", str(stats)]
    assert main([*words, *outputs]) == 2
    errors = capsys.readouterr().err
    assert "camera gone" in errors
    assert "frames/s" in errors
    assert len(lines.read_text().splitlines()) == json.loads(stats.read_text())["runtime"]["frames"] > 0
    assert video.stat().st_size > 0
    # One that is gone from the start leaves what there was.
    assert main([*words, *outputs]) == 2
    assert lines.read_text()


def test_a_network_camera_in_use_does_not_abort_the_process(tiny_bundle: Path) -> None:
    server = MjpegServer()
    server.start()
    words = ["run", str(tiny_bundle), "--source", server.uri, "--frames", "5"]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)
    server.kill()
    assert done.returncode == 0, done.stderr
    assert "5 frames" in done.stderr
