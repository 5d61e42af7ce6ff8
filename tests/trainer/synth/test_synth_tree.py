"""A generated tree, read back as the data set it claims to be."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest

from safetrip_trainer.classes import CLASS_NAMES, IGNORE, SURFACES
from safetrip_trainer.cli import synth as verb
from safetrip_trainer.data.cvat import parse_cvat
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, PrepareReport, prepare
from safetrip_trainer.data.statistics import total_pixels
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.synth import SynthOptions, synthesize, tree, write_video

OPTIONS = SynthOptions(scenes=24, seed=0, size=(320, 180), workers=1, truth=True, progress=False)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "tree"
    synthesize(out, OPTIONS)
    return out


@pytest.fixture(scope="module")
def report(generated: Path) -> PrepareReport:
    return prepare(generated, generated.parent / "prepared", PrepareOptions(workers=1, progress=False))


@pytest.fixture(scope="module")
def index(report: PrepareReport) -> PreparedIndex:
    return report.index


def truth_labels(index: PreparedIndex, sample_id: str) -> np.ndarray:
    _, folder, name = sample_id.split("/")
    return cv2.imread(str(index.root / "Truth" / folder / f"{name}_labels.png"), cv2.IMREAD_UNCHANGED)


def truth_depth(index: PreparedIndex, sample_id: str) -> np.ndarray:
    _, folder, name = sample_id.split("/")
    return np.load(index.root / "Truth" / folder / f"{name}_depth.npy", allow_pickle=False)


def test_the_layout_is_safetrip_qs(generated: Path) -> None:
    assert {path.name for path in (generated / "Surface").iterdir()} == {
        f"Surface_{n:03d}" for n in range(1, 5)
    }
    assert {path.name for path in (generated / "Polygon").iterdir()} == {
        f"Polygon_{n:04d}" for n in range(1, 5)
    }
    depth = generated / "Depth/Depth_001"
    suffixes = ["L", "R", "left", "right", "disp16", "disp", "confidence_save", "confidence"]
    expected = {
        "Depth_001.conf",
        *(f"Depth_001_{n:06d}_{suffix}.png" for n in range(2) for suffix in suffixes),
    }
    assert {path.name for path in depth.iterdir()} == expected
    assert {line.split("=")[0] for line in (depth / "Depth_001.conf").read_text().split()} == {
        "BaseLine",
        "fx",
        "fy",
        "cx",
        "cy",
    }


def test_prepare_finds_nothing_to_complain_about(report: PrepareReport) -> None:
    assert report.problems == ()
    assert not report.dropped
    assert not report.notes
    assert len(report.index.samples) == 24


def test_every_class_trains_and_nearly_every_class_validates(index: PreparedIndex) -> None:
    train, val = (total_pixels(s.pixels or {} for s in index.split(name)) for name in ("train", "val"))
    assert [CLASS_NAMES[label] for label in np.flatnonzero(train == 0)] == []
    assert (val > 0).sum() >= 22


def test_polygons_drawn_again_are_the_rendered_labels(index: PreparedIndex) -> None:
    for sample in index.samples:
        if sample.mask is None:
            continue
        labels = truth_labels(index, sample.id)
        wanted = (labels < len(SURFACES)) == (sample.source == "surface")
        expected = np.where(wanted, labels, IGNORE)
        mask = index.load_mask(sample)
        assert (mask == expected).mean() >= 0.99, sample.id
        labelled = expected != IGNORE
        assert (mask == expected)[labelled].mean() >= 0.99, sample.id


def test_an_obstacles_pixels_are_never_called_a_surface(index: PreparedIndex) -> None:
    wrong = total = 0
    for sample in index.samples:
        if sample.source == "surface":
            obstacle = truth_labels(index, sample.id) >= len(SURFACES)
            obstacle &= truth_labels(index, sample.id) != IGNORE
            mask = index.load_mask(sample)
            wrong += int((mask[obstacle] != IGNORE).sum())
            total += int(obstacle.sum())
    assert total > 1000
    assert wrong / total < 0.005


def test_z_order_carries_what_lies_on_top(generated: Path) -> None:
    annotations = parse_cvat(generated / "Surface/Surface_001/Surface_001.xml")
    for image in annotations.images.values():
        orders = [polygon.z_order for polygon in image.polygons]
        assert len(set(orders)) == len(orders)


def test_disparity_is_the_rendered_depth_within_quantisation(index: PreparedIndex) -> None:
    for sample in index.samples:
        if sample.source != "depth":
            continue
        depth, exact = index.load_depth(sample), truth_depth(index, sample.id)
        known = np.isfinite(depth)
        assert known.mean() > 0.4
        assert np.isnan(depth[np.isnan(exact)]).all()
        step = (
            0.5 / 256 / (sample.fx * sample.baseline) * depth[known] ** 2
        )  # half a step of disp16, in metres
        assert (np.abs(depth[known] - exact[known]) <= 1.02 * step + 1e-4).all()
        certain = np.isfinite(index.load_depth(sample, min_confidence=255))
        assert 0.3 < certain.mean() < known.mean()


def test_the_right_image_warped_by_the_disparity_is_the_left(index: PreparedIndex) -> None:
    for sample in index.samples:
        if sample.source != "depth":
            continue
        depth = index.load_depth(sample, min_confidence=255)
        known = np.isfinite(depth)
        left = index.load_image(sample).astype(np.float32)
        right = cv2.imread(str(index.root / sample.image.replace("_L.png", "_R.png"))).astype(np.float32)
        x, y = np.meshgrid(
            np.arange(sample.width, dtype=np.float32), np.arange(sample.height, dtype=np.float32)
        )

        def error(shift: np.ndarray, left=left, right=right, known=known, x=x, y=y) -> float:
            warped = cv2.remap(right, (x - shift).astype(np.float32), y, cv2.INTER_LINEAR)
            return float(np.abs(warped - left)[known].mean())

        disparity = np.where(known, sample.fx * sample.baseline / np.where(known, depth, 1), 0)
        assert error(disparity) < 0.6 * min(error(disparity * 0), error(disparity * 1.5)), sample.id


def test_the_same_seed_is_the_same_tree_whatever_the_workers(tmp_path: Path) -> None:
    trees = []
    for name, workers, seed in (("a", 1, 7), ("b", 2, 7), ("c", 1, 8)):
        synthesize(tmp_path / name, SynthOptions(5, seed, (128, 72), workers=workers, progress=False))
        files = sorted(
            path for path in (tmp_path / name).rglob("*") if path.is_file() and path.suffix != ".json"
        )
        trees.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert trees[0] == trees[1]
    assert trees[0].keys() == trees[2].keys()
    assert all(trees[0][name] != trees[2][name] for name in trees[0] if name.endswith(".jpg"))


def test_what_stands_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("keep")
    for overwrite, complaint in ((False, "add --overwrite"), (True, "is no generated tree")):
        with pytest.raises(DatasetError, match=complaint):
            synthesize(tmp_path / "out", SynthOptions(3, size=(96, 64), overwrite=overwrite, progress=False))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/notes.txt").read_text() == "keep"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_came_there_meanwhile_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """Rendering takes minutes, in which somebody may use the name."""
    out, render = tmp_path / "out", tree._render_folder

    def render_beside_somebody(task: tree._Task) -> int:
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("keep")
        return render(task)

    monkeypatch.setattr(tree, "_render_folder", render_beside_somebody)
    options = SynthOptions(3, size=(96, 64), workers=1, overwrite=overwrite, progress=False)
    with pytest.raises(DatasetError, match=r"already holds something|is no generated tree"):
        synthesize(out, options)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "notes.txt"]


def test_an_empty_folder_is_filled_where_a_link_points(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    synthesize(tmp_path / "out", SynthOptions(3, size=(96, 64), workers=1, progress=False))
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk/synth.json").exists()


def test_overwrite_replaces_a_tree_whole_and_failure_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SynthOptions(3, size=(96, 64), workers=1, overwrite=True, progress=False)
    synthesize(tmp_path / "out", SynthOptions(6, size=(96, 64), workers=1, progress=False))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def fail(task: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tree, "_render_folder", fail)
        with pytest.raises(DatasetError, match=r"out: cannot be written: No space left"):
            synthesize(tmp_path / "out", small)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    synthesize(tmp_path / "out", small)
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"scenes": 2}, "--scenes 2"),
        ({"size": (32, 480)}, "--size 32x480"),
        ({"frames_per_folder": 0}, "frames per folder must be 1 or more"),
        ({"seed": -1}, "the seed 0 or more"),
    ],
)
def test_senseless_options_are_refused(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        synthesize(tmp_path / "out", SynthOptions(**options))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_verb_renders_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    verb.configure(parser)
    out = tmp_path / "tree"
    film = tmp_path / "walk.avi"
    options = [
        "--scenes",
        "5",
        "--size",
        "128x72",
        "--workers",
        "1",
        "--video",
        str(film),
        "--video-frames",
        "2",
    ]
    verb.run(parser.parse_args([str(out), *options]))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"5 images (2 Surface, 2 Polygon, 1 Depth) -> {out}"
    assert printed[1] == f"2 frames of another walk -> {film}"
    assert cv2.VideoCapture(str(film)).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert cv2.imread(str(next(out.rglob("*.jpg")))).shape == (72, 128, 3)
    for senseless in (
        ("--size", "large"),
        ("--seed", "-1"),
        ("--video", "walk.txt"),
        ("--video-frames", "0"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args([str(out), *senseless])


@pytest.mark.parametrize("name", ["walk.mp4", "walk.avi"])
def test_a_video_of_a_walk_plays(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / "videos" / name, seed=3, frames=4, size=(160, 96))
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = video.read()
        if not there:
            break
        frames.append(frame)
    assert [frame.shape for frame in frames] == [(96, 160, 3)] * 4
    assert frames[0].std() > 15
    assert [item.name for item in path.parent.iterdir()] == [name]
