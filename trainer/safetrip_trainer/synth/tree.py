"""`trainer synth`: walks rendered to a tree in SafeTrip-Q's layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from safetrip_sdk import atomic
from safetrip_trainer.classes import IGNORE, NUM_CLASSES, SURFACES
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.parallel import map_processes
from safetrip_trainer.errors import DatasetError
from safetrip_trainer.synth.camera import Camera
from safetrip_trainer.synth.cvat_xml import ImageOutlines, cvat_xml
from safetrip_trainer.synth.outline import outline_instances, outline_labels
from safetrip_trainer.synth.pair import match_views
from safetrip_trainer.synth.render import View
from safetrip_trainer.synth.walk import Walk

__all__ = ["SynthOptions", "synthesize"]

_KINDS = {"Surface": "Surface_{:03d}", "Polygon": "Polygon_{:04d}", "Depth": "Depth_{:03d}"}
_SHARES = {"Surface": 0.4, "Polygon": 0.4, "Depth": 0.2}
_ANNOTATED = {
    "Surface": range(len(SURFACES)),
    "Polygon": range(len(SURFACES), NUM_CLASSES),
    "Depth": range(0),
}
_MIN_FOLDERS = 4
_OWN_ENTRIES = frozenset({*_KINDS, "Truth", "synth.json"})


@dataclass(frozen=True)
class SynthOptions:
    """`scenes` images in all, of `size` (width, height), in folders of up to `frames_per_folder`.

    The same `seed` gives the same bytes whatever `workers` (None: one per core). `truth` adds Truth/ with
    every image's full label map and exact depth; `overwrite` replaces a generated tree that stands there.
    """

    scenes: int = 120
    seed: int = 0
    size: tuple[int, int] = (1920, 1080)
    frames_per_folder: int = 8
    workers: int | None = None
    truth: bool = False
    overwrite: bool = False
    progress: bool = True


@dataclass(frozen=True)
class _Task:
    """One folder: its kind, number, count of images, and where the tree is being written."""

    kind: str
    number: int
    frames: int
    out: Path
    options: SynthOptions

    @property
    def name(self) -> str:
        return _KINDS[self.kind].format(self.number)


def synthesize(out: str | os.PathLike[str], options: SynthOptions | None = None) -> dict[str, int]:
    """Write the tree; it appears at `out` complete or not at all. Returns images per kind.

    Raises DatasetError where `out` holds anything (with `overwrite`: anything that is no such tree), where an
    option makes no sense, or where it cannot be written.
    """
    options = options or SynthOptions()
    target = Path(out)
    _check(target, options)
    counts = _shares(options.scenes)
    # Beside what a link points to: that is what is filled or replaced.
    temporary = atomic.sibling(target.resolve(), ".tmp")
    try:
        temporary.mkdir(parents=True)
        tasks = [task for kind, count in counts.items() for task in _tasks(kind, count, temporary, options)]
        _run(tasks, options)
        record = {key: value for key, value in asdict(options).items() if key not in ("workers", "progress")}
        (temporary / "synth.json").write_text(json.dumps(record, indent=2) + "\n")
        _publish(temporary, target, options)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _check(target: Path, options: SynthOptions) -> None:
    if options.scenes < len(_KINDS):
        raise DatasetError(f"--scenes {options.scenes}: at least {len(_KINDS)}, one of each kind")
    if options.frames_per_folder < 1 or options.seed < 0:
        raise DatasetError("frames per folder must be 1 or more, the seed 0 or more")
    if min(options.size) < 64 or max(options.size) > 8192:
        raise DatasetError(f"--size {options.size[0]}x{options.size[1]}: both sides from 64 to 8192")
    if not target.exists():
        return
    entries = {entry.name for entry in target.iterdir()} if target.is_dir() else {"a file"}
    if entries and not options.overwrite:
        raise DatasetError(f"{target}: already holds something; choose another folder or add --overwrite")
    if entries - _OWN_ENTRIES:
        raise DatasetError(f"{target}: is no generated tree, so --overwrite does not touch it")


def _shares(scenes: int) -> dict[str, int]:
    counts = {kind: max(round(scenes * share), 1) for kind, share in _SHARES.items()}
    counts["Surface"] += scenes - sum(counts.values())
    return counts


def _tasks(kind: str, count: int, out: Path, options: SynthOptions) -> Iterator[_Task]:
    """Folders of nearly equal length: at least four, so that a split by folder can hold one out."""
    folders = min(count, max(_MIN_FOLDERS, -(-count // options.frames_per_folder)))
    for number in range(folders):
        frames = count // folders + (number < count % folders)
        yield _Task(kind, number + 1, frames, out, options)


def _run(tasks: Sequence[_Task], options: SynthOptions) -> None:
    total = sum(task.frames for task in tasks)
    with tqdm(total=total, unit="img", desc="synth", disable=not options.progress, dynamic_ncols=True) as bar:
        for frames in map_processes(_render_folder, tasks, options.workers):
            bar.update(frames)


def _publish(temporary: Path, target: Path, options: SynthOptions) -> None:
    _check(target, options)  # again: rendering took its time
    place = target.resolve()
    if options.overwrite and place.exists():
        atomic.exchange(temporary, place)
    else:
        os.rename(temporary, place)  # onto an empty folder as onto none, and onto nothing else
    atomic.fsync_dir(place.parent)


def _render_folder(task: _Task) -> int:
    """Everything of one folder; depends on nothing but the task."""
    seed = (task.options.seed, list(_KINDS).index(task.kind), task.number)
    walk = Walk(seed, task.frames, task.options.size, wanted=_ANNOTATED[task.kind])
    folder = task.out / task.kind / task.name
    folder.mkdir(parents=True)
    (_render_stereo if task.kind == "Depth" else _render_annotated)(task, walk, folder)
    return task.frames


def _render_annotated(task: _Task, walk: Walk, folder: Path) -> None:
    surface = task.kind == "Surface"
    images = []
    quality = int(np.random.default_rng([*walk.seed, 5]).integers(84, 96))
    for number in range(task.frames):
        _, view = walk.view(number)
        name = f"{task.name}_{number:06d}"
        _save(folder / f"{name}.jpg", walk.expose(view, number), [cv2.IMWRITE_JPEG_QUALITY, quality])
        wanted = (view.labels < len(SURFACES)) == surface
        labels = np.where(wanted & (view.labels != IGNORE), view.labels, np.uint8(IGNORE))
        outlines = outline_labels(labels) if surface else outline_instances(labels, view.things)
        height, width = labels.shape
        images.append(ImageOutlines(f"{name}.jpg", width, height, outlines))
        _save_truth(task, name, view)
    (folder / f"{task.name}.xml").write_text(cvat_xml(task.name, images), encoding="utf-8")


def _render_stereo(task: _Task, walk: Walk, folder: Path) -> None:
    baseline = float(np.round(np.random.default_rng([*walk.seed, 5]).uniform(0.06, 0.14), 5))
    for number in range(task.frames):
        camera, left, right = walk.stereo(number, baseline)
        if number == 0:
            (folder / f"{task.name}.conf").write_text(_conf(camera, baseline), encoding="utf-8")
        disparity, confidence = match_views(left, right, camera, baseline)
        name = f"{task.name}_{number:06d}"
        for suffixes, image in (
            (("_L", "_left"), walk.expose(left, number)),
            (("_R", "_right"), walk.expose(right, number, eye=1)),
            (("_disp16",), disparity),
            (("_disp",), np.minimum(disparity // 256, 255).astype(np.uint8)),
            (("_confidence_save",), confidence),
            (("_confidence",), np.where(confidence >= 128, 255, 0).astype(np.uint8)),
        ):
            data = encode_png(image)
            for suffix in suffixes:  # the pair is rendered rectified: raw and rectified are the same picture
                (folder / f"{name}{suffix}.png").write_bytes(data)
        _save_truth(task, name, left)


def _conf(camera: Camera, baseline: float) -> str:
    values = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
    lines = [f"BaseLine={baseline * 1000:.4f}", *(f"{key}={value:.6f}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _save(path: Path, image: np.ndarray, options: Sequence[int]) -> None:
    done, data = cv2.imencode(path.suffix, image, options)
    if not done:
        raise DatasetError(f"{path}: this OpenCV cannot encode {path.suffix}")
    path.write_bytes(data.tobytes())


def _save_truth(task: _Task, name: str, view: View) -> None:
    if not task.options.truth:
        return
    folder = task.out / "Truth" / task.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_labels.png").write_bytes(encode_png(view.labels))
    with open(folder / f"{name}_depth.npy", "wb") as file:
        np.save(file, view.depth, allow_pickle=False)
