"""The `safetrip` command as a robot team types it: in a process of its own where signals matter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from safetrip_sdk import Bundle, ClassTable, Overlay, Prediction, Timing
from safetrip_sdk.cli import main
from safetrip_sdk.errors import SafetripError
from safetrip_sdk.summary import summarize
from safetrip_sdk.video import VideoWriter
from tests.sdk.conftest import CLASSES

COMMAND = [sys.executable, "-c", "import sys; from safetrip_sdk.cli import main; sys.exit(main())"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    generator = np.random.default_rng(0)
    for index in range(5):
        size = (96, 128) if index < 3 else (100, 120)
        image = np.kron(generator.integers(0, 255, (4, 4, 3)), np.ones((25, 32, 1)))
        cv2.imwrite(str(root / f"{index}.png"), image.astype(np.uint8)[: size[0], : size[1]])
    return root


def test_run_on_images_of_two_sizes(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    lines, video = tmp_path / "out.jsonl", tmp_path / "out.avi"
    words = ["run", str(tiny_bundle), "--source", str(photos), "--json", str(lines), "--video", str(video)]
    assert main(words) == 0
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [Path(row["origin"]).name for row in rows] == [f"{index}.png" for index in range(5)]
    for row in rows:
        assert sum(row["classes"].values()) == pytest.approx(1, abs=1e-4)
        assert set(row["timing"]) == {"wait", "upload", "compute", "download", "total"}
        assert set(row["obstacles"]) == {"person"} & set(row["classes"])
    capture = cv2.VideoCapture(str(video))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]


def test_run_frames_and_stdout(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(tiny_bundle), "--source", "synthetic://128x96?fps=0", "--frames", "7", "--json", "-"]
    assert main([*words, "--backend", "onnxruntime", "--slots", "1", "--policy", "block"]) == 0
    streams = capsys.readouterr()
    assert [json.loads(line)["frame_id"] for line in streams.out.splitlines()] == list(range(7))
    assert "7 frames, 0 dropped, 0 failed" in streams.err
    assert "p99" in streams.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_cleanly_with_the_statistics(tiny_bundle: Path, tmp_path: Path, number: int) -> None:
    lines, video = tmp_path / "out.jsonl", tmp_path / "out.avi"
    words = ["run", str(tiny_bundle), "--source", "synthetic://128x96?fps=50", "--json", str(lines)]
    process = subprocess.Popen(
        [*COMMAND, *words, "--video", str(video)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs, and so perhaps this test, with SIGINT ignored; that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(item.suffix == ".avi" for item in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "frames/s" in errors
    assert "Traceback" not in errors
    assert len(lines.read_text().splitlines()) >= 1
    assert video.stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "BUNDLE", "--source", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["run", "nowhere.bundle", "--source", "synthetic://64x48"], "nowhere.bundle: no bundle"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--video", "x.gif"], "x.gif: cannot write"),
        (
            ["run", "BUNDLE", "--source", "synthetic://64x48", "--json", "/nowhere/x"],
            "/nowhere does not exist",
        ),
        (
            ["run", "BUNDLE", "--source", "nowhere.mp4", "--video", "/nowhere/x.mp4"],
            "/nowhere does not exist",
        ),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--stats", "/tmp"], "/tmp: is a folder"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--intrinsics", "0,1,2,3"], "want FX,FY,CX,CY"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--precision", "int8"], "no usable precision"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--json", "-", "--stats", "-"], "only one"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--view", "wall"], "a view is window, web"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--view", "web:99999"], "want a port"),
        (["run", "BUNDLE", "--source", "synthetic://99999x99999"], "want a size of 1 to 16384"),
        (["run", "BUNDLE", "--source", "synthetic://64x48", "--fov", "190"], "between 0 and 180"),
        (["recover", "nowhere.mcap", "--out", "x.mcap"], "nowhere.mcap: No such file"),
        (["bench", "BUNDLE", "--backend", "tensorrt"], "tensorrt"),
        (["build", "BUNDLE", "--target", "tensorrt"], "JetPack"),
        (["info", "nowhere.bundle"], "nothing at this path"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    tiny_bundle: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main([str(tiny_bundle) if word == "BUNDLE" else word for word in words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"safetrip {words[0]}: error: ")
    assert message in errors


def test_too_large_for_this_machine_is_bad_input(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*sizes: object, **options: object) -> None:
        raise MemoryError("Unable to allocate 768. MiB")

    monkeypatch.setattr("safetrip_sdk.cli.bench.Runtime", none_left)
    assert main(["bench", str(tiny_bundle), "--frame", "96x128"]) == 2
    errors = capsys.readouterr().err
    assert errors.splitlines()[-1] == "safetrip bench: error: not enough memory: Unable to allocate 768. MiB"


def test_failed_run_leaves_no_files(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").write_bytes(b"damaged")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jsonl").write_text("from yesterday")
    words = ["run", str(tiny_bundle), "--source", str(photos), "--json", str(out / "a.jsonl")]
    assert main(words) == 2
    assert (out / "a.jsonl").read_text() == "from yesterday"
    assert [item.name for item in out.iterdir()] == ["a.jsonl"]


def test_bench(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    words = ["bench", str(tiny_bundle), "--backend", "all", "--precision", "all", "--frames", "5"]
    assert main([*words, "--frame", "96x128", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert {(row["backend"], row["precision"]) for row in report["results"]} >= {
        (backend, precision) for backend in ("openvino", "onnxruntime") for precision in ("fp32", "fp16")
    }
    for row in report["results"]:
        assert row["frames"] == 5
        assert row["latency_ms"]["total"]["p50"] > 0
        assert row["stream_fps"] > 0
    assert report["device"]["cores"] >= 1
    assert "p95 ms" in capsys.readouterr().out


def test_bench_leaves_standard_output_to_the_json(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(tiny_bundle), "--frames", "2", "--frame", "96x128", "--json", "-"]) == 0
    out, table = capsys.readouterr()
    assert json.loads(out)["results"][0]["frames"] == 2
    assert "p95 ms" in table


def test_info(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tiny_bundle), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []
    copy = tmp_path / "copy.bundle"
    shutil.copytree(tiny_bundle, copy)
    row = {"violations": ["label_agreement 0.9 is below 0.95"], "unjudged": ["delta1_drop"]}
    compared = {
        "frames": 8,
        "frames_sha256": "ab" * 32,
        "limits": {"label_agreement": 0.95, "delta1_drop": 1},
    }
    earlier = {"violations": [], "frames": 500, "frames_sha256": "ef" * 32, "limits": {}}
    calibrated = {"method": "percentile:99.99", "count": 64, "frames_sha256": "cd" * 32}
    with Bundle.edit(copy) as draft:
        info = replace(
            draft.manifest.precisions["fp16"],
            metrics={"compare": {**compared, "backends": {"openvino": row, "onnxruntime": earlier}}},
            accepted=False,
        )
        draft.manifest = replace(
            draft.manifest,
            precisions={**draft.manifest.precisions, "fp16": info},
            calibration={"precisions": {"fp16": calibrated}},
            training={"config": "a: 1\nb: 2\n"},
        )
    assert main(["info", str(copy)]) == 0
    text = capsys.readouterr().out
    for line in (
        "REJECTED",
        "training config: 2 lines (in manifest.json, and with --json)",
        "calibrated by percentile:99.99 on 64 frames (sha256 cdcdcdcdcdcd...)",
        "compared on 8 frames (sha256 abababababab...) on openvino; "
        "limits: label_agreement=0.95, delta1_drop=1",
        "compared on 500 frames (sha256 efefefefefef...) on onnxruntime; limits: none",
        "FAILED on openvino: label_agreement 0.9 is below 0.95",
        "not judged on openvino, no truth: delta1_drop",
    ):
        assert line in text
    model = copy / "model.fp16.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    assert main(["info", str(copy)]) == 1
    assert "1 of 2 files differ" in capsys.readouterr().out


def test_doctor(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "doctor.json"
    assert main(["doctor", str(tiny_bundle), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert [item["name"] for item in report["backends"]] == [
        "tensorrt",
        "tensorrt_rtx",
        "openvino",
        "onnxruntime",
    ]
    for item in report["backends"]:
        assert item["available"] or item["reason"]
    assert f"would use: {report['auto']}" in text


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["run"],
        ["bench", "x", "--frame", "1080"],
        ["bench", "x", "--frame", "99999x99999"],
        ["run", "x", "--frames", "0"],
        ["run", "x", "--device", "-1"],
        ["run", "x", "--threads", "9" * 20],
    ],
)
def test_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


@pytest.mark.parametrize("verb", ["run", "bench", "info", "build", "doctor"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"safetrip {verb}" in capsys.readouterr().out.split("examples:")[1]


def make_prediction(labels: np.ndarray, depth: np.ndarray) -> Prediction:
    names = tuple(item.name for item in CLASSES)
    return Prediction(labels, depth, None, names, 3, 0, Timing(0, 0, 0, 0, 12.5))


def test_summary_against_plain_arithmetic() -> None:
    labels = np.array([[0, 0, 2, 2], [1, 2, 2, 2]], np.uint8)
    depth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    summary = summarize(make_prediction(labels, depth), ClassTable(CLASSES))
    assert summary["classes"] == {"sidewalk": 0.25, "roadway": 0.125, "person": 0.625}
    assert summary["obstacles"] == {"person": {"nearest_m": pytest.approx(3.2), "median_m": 6.0}}


def test_overlay_uses_the_bundles_colours() -> None:
    labels = np.zeros((24, 32), np.uint8)
    labels[:, 16:] = 2
    frame = np.full((240, 320, 3), 100, np.uint8)
    prediction = make_prediction(labels, np.full((24, 32), 5, np.float32))
    image = Overlay(CLASSES, alpha=1.0, legend=False, depth=False).draw(frame, prediction)
    assert image.shape == frame.shape
    assert tuple(image[0, 0]) == CLASSES[0].color[::-1]
    assert tuple(image[0, 319]) == CLASSES[2].color[::-1]
    drawn = {tuple(colour) for colour in image.reshape(-1, 3).tolist()}
    assert drawn == {CLASSES[0].color[::-1], CLASSES[2].color[::-1], (255, 255, 255)}, "none in between"
    assert np.array_equal(
        Overlay(CLASSES, alpha=0.0, legend=False, depth=False).draw(frame, prediction), frame
    )
    full = Overlay(CLASSES).draw(frame, prediction)
    assert not np.array_equal(full[:40, :40], image[:40, :40]), "the legend is there"
    assert frame.min() == frame.max() == 100, "the frame itself is left alone"
    with pytest.raises(ValueError, match="alpha"):
        Overlay(CLASSES, alpha=2)


def test_overlay_of_ids_without_a_class_and_tiny_frames() -> None:
    labels = np.full((4, 4), 255, np.uint8)
    image = Overlay(CLASSES).draw(
        np.zeros((8, 8, 3), np.uint8), make_prediction(labels, np.ones((4, 4), np.float32))
    )
    assert image.shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_that_cannot_be_written_says_why(tmp_path: Path, suffix: str) -> None:
    """The encoder says nothing of it; here of a process whose files may have 64 KiB."""
    path = tmp_path / f"v{suffix}"
    path.write_bytes(b"old")
    code = (
        "import resource, sys, numpy as np\n"
        "from safetrip_sdk.video import VideoWriter\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "writer = VideoWriter(sys.argv[1], 10)\n"
        "random = np.random.default_rng(0)\n"
        "try:\n"
        "    for _ in range(20):\n"
        "        writer.write(random.integers(0, 256, (120, 160, 3), np.uint8))\n"
        "    writer.close()\n"
        "except OSError as error:\n"
        "    writer.abandon()\n"
        "    sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"[Errno 27] File too large: '{path}'"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("frames_until_full", [0, 3])
def test_a_disk_that_is_full_ends_the_run_at_once(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frames_until_full: int,
) -> None:
    real, asked = os.statvfs, []

    def filling(folder: Path) -> os.statvfs_result:
        asked.append(folder)
        free = 0 if len(asked) > frames_until_full else 1 << 20
        found = list(real(folder))
        found[3] = found[4] = free  # f_bfree, f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", filling)
    video = tmp_path / "out/v.mp4"
    video.parent.mkdir()
    words = ["--source", "synthetic://64x48?fps=0", "--frames", "500", "--video", str(video)]
    assert main(["run", str(tiny_bundle), *words]) == 2
    assert f"error: [Errno 28] No space left on device: '{video}'" in capsys.readouterr().err
    assert len(asked) == frames_until_full + 1
    assert not list(video.parent.iterdir())


def test_video_writer_keeps_the_old_file_until_done(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    path.write_bytes(b"old")
    with VideoWriter(path, 10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(np.zeros((40, 60, 3), np.uint8))
        assert path.read_bytes() == b"old"
    assert path.read_bytes() != b"old"
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 2, "a frame of another size is not left out"
    with VideoWriter(tmp_path / "none.avi", 10):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["v.avi"]
    with pytest.raises(SafetripError, match="does not exist"):
        VideoWriter(tmp_path / "no" / "v.avi", 10)
