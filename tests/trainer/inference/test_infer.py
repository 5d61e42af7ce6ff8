"""`infer` on what people have: mixed sizes and kinds of images, names that meet, videos that end early."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from safetrip_sdk.classes import ClassTable
from safetrip_sdk.errors import SourceError
from safetrip_sdk.prediction import Prediction, Timing
from safetrip_trainer.classes import class_infos
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.inference.files import write_planes
from safetrip_trainer.inference.infer import infer
from safetrip_trainer.inference.predictor import open_predictor


class Brightness:
    """Predicts of each pixel how bright it is: labels and depth follow the frame, whatever its size."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self.fail_at = fail_at

    def __call__(self, frame: np.ndarray) -> Prediction:
        if len(self.seen) == self.fail_at:
            raise RuntimeError("the device is gone")
        self.seen.append((frame.shape[0], frame.shape[1]))
        grey = frame.mean(axis=2)
        return Prediction(
            labels=(grey / 11).astype(np.uint8),
            depth=(grey / 4).astype(np.float32),
            confidence=None,
            classes=ClassTable(class_infos()),
            frame_id=len(self.seen) - 1,
            captured_at=0,
            timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
        )


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def write_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index, np.uint8))
    writer.release()


def test_every_image_is_predicted_once_whatever_its_size_and_kind(tmp_path: Path) -> None:
    folder = tmp_path / "bilder für später"
    colour = np.full((40, 64, 3), 120, np.uint8)
    images = {
        "a.png": colour,
        "b grau.png": colour[..., 0],
        "c.png": np.dstack([colour, colour[..., :1]]),
        "d.png": colour.astype(np.uint16) * 257,
        "e.png": colour[:33, :17],
        "f.jpg": colour,
        "f.png": colour[:1, :1],
    }
    for name, image in images.items():
        write_image(folder / name, image)
    predictor = Brightness()
    assert infer(predictor, str(folder), tmp_path / "out") == len(images)
    assert predictor.seen == [image.shape[:2] for image in images.values()]
    stems = ["a", "b grau", "c", "d", "e", "f", "f-2"]
    written = sorted(item.name for item in (tmp_path / "out").iterdir())
    assert written == sorted(
        f"{stem}_{kind}.png" for stem in stems for kind in ("depth", "labels", "overlay")
    )
    for stem in ("a", "b grau", "c", "d"):
        data = np.frombuffer((tmp_path / "out" / f"{stem}_depth.png").read_bytes(), np.uint8)
        depth = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        assert depth is not None
        assert (depth == 30_000).all(), f"{stem}: 120 / 4 m in millimetres"


def test_damaged_images_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "b.png", "c.png", "d.png"):
        write_image(folder / name, np.full((24, 32, 3), 120, np.uint8))
    for name in ("a.png", "c.png"):  # the first one too, whose size would have been everyone's
        (folder / name).write_bytes((folder / name).read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert infer(Brightness(), str(folder), tmp_path / "out") == 2
    labels = sorted(path.name for path in (tmp_path / "out").glob("*_labels.png"))
    assert labels == ["b_labels.png", "d_labels.png"]
    for name in ("a.png", "c.png"):
        assert len([line for line in caplog.messages if str(folder / name) in line]) == 1
    assert "2 of the 4 frames it announces" in caplog.text
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.png"):
        infer(Brightness(), str(folder), tmp_path / "nothing")


def test_a_video_that_ends_before_its_time_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "whole.mp4", 30)
    data = bytearray((tmp_path / "whole.mp4").read_bytes())
    # Frames whose data is overwritten: the index behind them still announces thirty.
    start = data.index(b"mdat") + 4
    middle = start + (data.index(b"moov") - start) // 2
    data[middle : data.index(b"moov") - 4] = b"\xff" * (data.index(b"moov") - 4 - middle)
    (tmp_path / "hurt.mp4").write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        assert infer(Brightness(), str(tmp_path / "whole.mp4"), tmp_path / "out") == 30
        assert not caplog.messages
        count = infer(Brightness(), str(tmp_path / "hurt.mp4"), tmp_path / "out")
    assert 0 < count < 30
    assert f"ended after {count} of the 30 frames" in caplog.text


def test_a_video_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    write_video(tmp_path / "street.mp4", 8)
    infer(Brightness(), str(tmp_path / "street.mp4"), tmp_path / "out")
    before = (tmp_path / "out" / "street_overlay.mp4").read_bytes()
    with pytest.raises(RuntimeError, match="the device is gone"):
        infer(Brightness(fail_at=4), str(tmp_path / "street.mp4"), tmp_path / "out")
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["street_overlay.mp4"]
    assert (tmp_path / "out" / "street_overlay.mp4").read_bytes() == before


def test_options_that_would_change_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bundle").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for source, options, why in (
        ("last.ckpt", {"backend": "openvino"}, "a checkpoint runs in torch"),
        ("last.ckpt", {"precision": "int8"}, "a checkpoint runs in torch"),
        ("x.bundle", {"size": (64, 64)}, "a bundle has one input size"),
        ("run", {}, r"give its .*run.checkpoints.best\.ckpt"),
    ):
        with pytest.raises(TrainerError, match=why), open_predictor(tmp_path / source, **options):
            pass


def test_depth_is_written_in_millimetres_whatever_it_is(tmp_path: Path) -> None:
    depth = np.array([[1.25, 80.0, np.nan, np.inf, -np.inf]], np.float32)
    write_planes(tmp_path, "a", np.zeros((1, 5), np.uint8), depth)
    written = cv2.imread(str(tmp_path / "a_depth.png"), cv2.IMREAD_UNCHANGED)
    assert written.tolist() == [[1250, 65535, 0, 65535, 0]]
