from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from safetrip_sdk.atomic import sibling
from safetrip_trainer.classes import CLASS_NAMES, IGNORE, color_map
from safetrip_trainer.data import polygon_frames, units
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.prepare import PrepareOptions, PrepareReport, prepare
from safetrip_trainer.data.report import print_report
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import (
    HEIGHT,
    WIDTH,
    annotations,
    image_element,
    polygon,
    write_annotated,
    write_depth,
    write_image,
    write_tree,
)

QUIET = PrepareOptions(workers=1, progress=False)


def reasons(report: PrepareReport) -> dict[str, str]:
    return {problem.path: problem.reason for problem in report.problems}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_sound_tree_gives_samples_masks_depth_and_the_published_files(tmp_path: Path) -> None:
    report = prepare(write_tree(tmp_path / "tree"), tmp_path / "out", QUIET)
    index = PreparedIndex.load(tmp_path / "out")
    assert report.problems == ()
    assert [len(index.split(name)) for name in ("train", "val", "all")] == [12, 6, 18]
    surface = next(sample for sample in index.samples if sample.source == "surface")
    mask = index.load_mask(surface)
    assert mask is not None
    expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    expected[4:21, 4:21], expected[4:21, 22:41] = 0, 2
    np.testing.assert_array_equal(mask, expected)
    assert surface.pixels == {0: 17 * 17, 2: 17 * 19}
    assert index.load_image(surface).shape == (HEIGHT, WIDTH, 3)
    assert index.load_depth(surface) is None
    depth_sample = next(sample for sample in index.samples if sample.source == "depth")
    depth = index.load_depth(depth_sample)
    assert depth is not None
    assert np.isnan(depth[:, 0]).all()
    assert depth[0, 1] == pytest.approx(0.12 * 100 / 8)
    measured = index.load_depth(depth_sample, min_confidence=255)
    assert np.isnan(measured[: HEIGHT // 2]).all()
    assert index.load_mask(depth_sample) is None
    assert np.load(tmp_path / "out/class_weights_24.npy").tolist() == index.class_weights.tolist()
    np.testing.assert_array_equal(np.load(tmp_path / "out/cmap_safetrip_24.npy"), color_map())
    info = json.loads((tmp_path / "out/class_info.json").read_text())
    assert [item["name"] for item in info["classes"]] == list(CLASS_NAMES)


def test_weights_count_training_pixels_only(tmp_path: Path) -> None:
    for number, label in ((1, "sidewalk"), (2, "alley")):
        write_annotated(tmp_path / "tree", f"Surface/Surface_{number:03d}", {"a.jpg": polygon(label)})
    prepare(tmp_path / "tree", tmp_path / "out", PrepareOptions(("Surface_002",), workers=1, progress=False))
    header = PreparedIndex.load(tmp_path / "out").header
    assert header["train_pixels"][CLASS_NAMES.index("sidewalk")] == 17 * 17
    assert header["train_pixels"][CLASS_NAMES.index("alley")] == 0


@pytest.mark.parametrize("kept", ["Surface", "Polygon", "Depth"])
def test_one_kind_alone_is_enough(tmp_path: Path, kept: str) -> None:
    tree = write_tree(tmp_path / "tree")
    for kind in {"Surface", "Polygon", "Depth"} - {kept}:
        shutil.rmtree(tree / kind)
    assert len(prepare(tree, tmp_path / "out", QUIET).index.samples) == 6


def test_every_unusable_thing_is_named_and_the_rest_is_used(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    surface, depth = tree / "Surface/Surface_001", tree / "Depth/Depth_001"
    elements = {
        "two_points.jpg": polygon("sidewalk", "1,1;2,2"),
        "nan.jpg": polygon("sidewalk", "1,1;nan,2;3,3") + polygon("sidewalk"),
        "cats_only.jpg": polygon("cat"),
        "outside.jpg": polygon("sidewalk", "60,1;70,1;70,9"),
        "cut.jpg": polygon("sidewalk"),
        "absent.jpg": polygon("sidewalk"),
        "good.jpg": polygon("sidewalk"),
    }
    write_annotated(tree, "Surface/Surface_001", elements)
    text = annotations(
        *(image_element(name, content) for name, content in elements.items()),
        image_element("larger.jpg", polygon("sidewalk"), width=99),
    )
    (surface / "Surface_001.xml").write_text(text)
    (surface / "absent.jpg").unlink()
    write_image(surface / "larger.jpg")
    data = (surface / "cut.jpg").read_bytes()
    (surface / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tree / "Surface/Surface_002/Surface_002.xml").unlink()
    (tree / "Surface/Surface_003/Surface_003.xml").write_text("<annotations><image")
    (tree / "Polygon/Polygon_0001/Polygon_0001.xml").write_text(
        "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>"
    )
    (tree / "Polygon/empty").mkdir()
    png = (depth / "d1_0_disp16.png").read_bytes()
    (depth / "d1_0_disp16.png").write_bytes(png[:-20])
    (depth / "d1_1_confidence_save.png").unlink()
    write_image(depth / "d1_1_confidence_save.png")
    (tree / "Depth/Depth_002/Depth_002.conf").write_text("fx=100\n")

    report = prepare(tree, tmp_path / "out", QUIET)
    found = reasons(report)
    for path, complaint in {
        "Surface/Surface_001/two_points.jpg": "no usable polygon",
        "Surface/Surface_001/nan.jpg": "not finite",
        "Surface/Surface_001/cats_only.jpg": "no usable polygon",
        "Surface/Surface_001/outside.jpg": "cover no pixel",
        "Surface/Surface_001/cut.jpg": "truncated JPEG",
        "Surface/Surface_001/absent.jpg": "no such file",
        "Surface/Surface_001/larger.jpg": "its annotation 99x32",
        "Surface/Surface_001/frame_1_0.jpg": "no annotation",
        "Surface/Surface_002": "no CVAT XML",
        "Surface/Surface_003/Surface_003.xml": "malformed XML",
        "Polygon/Polygon_0001/Polygon_0001.xml": "declares a DTD or entities",
        "Polygon/empty": "no image",
        "Depth/Depth_001/d1_0_disp16.png": "truncated PNG",
        "Depth/Depth_001/d1_1_confidence_save.png": "expected one channel of uint8",
        "Depth/Depth_002/Depth_002.conf": "no BaseLine",
    }.items():
        assert complaint in found[path], path
    used = {sample.id for sample in report.index.samples}
    assert {"Surface/Surface_001/good", "Surface/Surface_001/nan"} <= used
    assert not {"Surface/Surface_001/cut", "Depth/Depth_001/d1_0", "Depth/Depth_002/d2_0"} & used
    assert report.dropped == {"label cat": 1}
    assert_labels_are_explained(report)
    listed = json.loads((tmp_path / "out/problems.json").read_text())
    assert {item["path"] for item in listed["problems"]} == set(found)


def assert_labels_are_explained(report: PrepareReport) -> None:
    console = Console(record=True, width=400, file=io.StringIO())
    print_report(report, console)
    said = console.export_text()
    assert "dropped (outside the 24 classes): label cat 1" in said
    assert "the classes are: sidewalk, braille_guide_blocks, " in said


def test_an_image_that_exif_turns_is_a_problem(tmp_path: Path) -> None:
    """Turned by half it has the size that its annotation names, and upside down every label is wrong."""
    tree = write_tree(tmp_path / "tree", folders=1)
    photo = next((tree / "Surface").rglob("*.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(photo).save(photo, exif=exif)
    found = reasons(prepare(tree, tmp_path / "out", QUIET))
    assert found[str(photo.relative_to(tree))].startswith("EXIF turns it (orientation 3)")


def test_of_two_images_of_one_name_the_first_annotated_one_is_used(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", folders=1)
    # In different units, since 40 others come between; beside the third lies one that nobody annotated.
    names = ["a.jpg", *(f"a.jpg{number:02}.jpg" for number in range(40)), "a.png", "b.png"]
    folder = write_annotated(tree, "Surface/Surface_001", dict.fromkeys(names, polygon("sidewalk")))
    write_image(folder / "b.jpg")
    report = prepare(tree, tmp_path / "out", QUIET)
    assert reasons(report) == {
        "Surface/Surface_001/a.png": "named as a.jpg but for its suffix: that one is used; rename one",
        "Surface/Surface_001/b.jpg": "not in Surface_001.xml: no annotation",
        "Surface/Surface_001/frame_1_0.jpg": "not in Surface_001.xml: no annotation",
        "Surface/Surface_001/frame_1_1.jpg": "not in Surface_001.xml: no annotation",
    }
    ids = [sample.id for sample in report.index.samples]
    assert len(set(ids)) == len(ids) == 46
    images = {sample.id: sample.image for sample in report.index.samples}
    assert images["Surface/Surface_001/a"] == "Surface/Surface_001/a.jpg"
    assert images["Surface/Surface_001/b"] == "Surface/Surface_001/b.png"

    (folder / "a.jpg").unlink()
    write_image(folder / "Z.jpg")  # sorts first: the later unit's own files are what they were
    again = {sample.id: sample.image for sample in prepare(tree, tmp_path / "out", QUIET).index.samples}
    assert again["Surface/Surface_001/a"] == "Surface/Surface_001/a.png"


def test_of_two_xml_files_the_first_that_names_an_image_holds(tmp_path: Path) -> None:
    folder = write_annotated(tmp_path / "tree", "Surface/Surface_001", {"a.jpg": polygon("alley")})
    write_image(folder / "b.jpg")
    elements = (image_element(name, polygon("roadway")) for name in ("a.jpg", "b.jpg"))
    (folder / "zzz.xml").write_text(annotations(*elements))
    report = prepare(tmp_path / "tree", tmp_path / "out", QUIET)
    assert [list(sample.pixels or {}) for sample in report.index.samples] == [[3], [2]]
    assert "annotated in two XML files; the first is used" in reasons(report)["Surface/Surface_001/a.jpg"]


def test_a_disparity_of_zero_everywhere_is_a_problem_not_an_infinite_depth(tmp_path: Path) -> None:
    import cv2

    folder = write_depth(tmp_path / "tree", "Depth/Depth_001", ["a", "b"])
    cv2.imwrite(str(folder / "a_disp16.png"), np.zeros((HEIGHT, WIDTH), np.uint16))
    report = prepare(tmp_path / "tree", tmp_path / "out", QUIET)
    assert "no pixel with a disparity" in reasons(report)["Depth/Depth_001/a_disp16.png"]
    assert [sample.id for sample in report.index.samples] == ["Depth/Depth_001/b"]


@pytest.mark.parametrize("row", [0, 5])
def test_depth_is_there_where_a_pixel_has_disparity_and_confidence(tmp_path: Path, row: int) -> None:
    import cv2

    folder = write_depth(tmp_path / "tree", "Depth/Depth_001", ["a", "b", "c"])
    disparity, confidence = np.zeros((2, HEIGHT, WIDTH), np.uint16)
    disparity[row], confidence[row + 1] = 8 * 256, 255
    for name, column in (("a", 0), ("b", 1)):  # b has both at one pixel, a at none
        confidence[row, :column] = 255
        cv2.imwrite(str(folder / f"{name}_disp16.png"), disparity)
        cv2.imwrite(str(folder / f"{name}_confidence_save.png"), confidence.astype(np.uint8))
    report = prepare(tmp_path / "tree", tmp_path / "out", QUIET)
    assert "no pixel with a disparity and confidence" in reasons(report)["Depth/Depth_001/a_disp16.png"]
    assert [sample.id[-1] for sample in report.index.samples] == ["b", "c"]


def test_confidence_is_the_graded_one_where_there_are_both(tmp_path: Path) -> None:
    folder = write_depth(tmp_path / "tree", "Depth/Depth_001", ["a", "b"])
    (folder / "a_confidence.png").write_bytes((folder / "a_confidence_save.png").read_bytes())
    (folder / "b_confidence_save.png").rename(folder / "b_confidence.png")
    samples = prepare(tmp_path / "tree", tmp_path / "out", QUIET).index.samples
    assert [str(sample.confidence).rsplit("/", 1)[-1] for sample in samples] == [
        "a_confidence_save.png",
        "b_confidence.png",
    ]


def test_a_folder_without_a_usable_sample_takes_no_part_in_the_split(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "Surface/Surface_002/Surface_002.xml").write_text("<annotations>")
    with pytest.raises(DatasetError, match="no usable folder 'Surface_002'"):
        prepare(tree, tmp_path / "out", PrepareOptions(("Surface_002",), workers=1, progress=False))
    for image in (tree / "Surface/Surface_003").glob("*.jpg"):
        image.write_bytes(b"")
    notes = prepare(tree, tmp_path / "out", QUIET).notes
    assert notes == ("surface: no validation folder, its only folder (Surface_001) trains",)


def test_the_result_does_not_depend_on_workers_place_or_time(tmp_path: Path) -> None:
    one = prepare(write_tree(tmp_path / "a/tree"), tmp_path / "a/out", QUIET)
    two = prepare(
        write_tree(tmp_path / "b/tree"), tmp_path / "b/out", PrepareOptions(workers=2, progress=False)
    )
    assert one.index.data_hash == two.index.data_hash
    assert one.index.samples == two.index.samples


def test_the_hash_changes_with_a_label_the_split_and_the_stereo_camera(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    first = prepare(tree, tmp_path / "out", QUIET).index.data_hash
    other_split = PrepareOptions(("1",), workers=1, progress=False)
    hashes = {first, prepare(tree, tmp_path / "out2", other_split).index.data_hash}
    xml = tree / "Surface/Surface_001/Surface_001.xml"
    xml.write_text(xml.read_text().replace("20,20", "21,20"))
    hashes.add(prepare(tree, tmp_path / "out", QUIET).index.data_hash)
    # What lies on top decides the mask, which is named by the same digest.
    xml.write_text(xml.read_text().replace('label="sidewalk"', 'label="sidewalk" z_order="3"'))
    hashes.add(prepare(tree, tmp_path / "out", QUIET).index.data_hash)
    # Another baseline is another depth of the same disparity.
    conf = tree / "Depth/Depth_001/Depth_001.conf"
    conf.write_text(conf.read_text().replace("120.0", "60.0"))
    hashes.add(prepare(tree, tmp_path / "out", QUIET).index.data_hash)
    assert len(hashes) == 5


def test_a_second_run_reuses_and_a_change_redoes_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = write_tree(tmp_path / "tree")
    prepare(tree, tmp_path / "out", QUIET)
    again = prepare(tree, tmp_path / "out", QUIET)
    assert again.reused == 18
    rasterized = []
    real = polygon_frames.rasterize
    monkeypatch.setattr(polygon_frames, "rasterize", lambda *args: rasterized.append(1) or real(*args))
    image = tree / "Polygon/Polygon_0002/frame_2_0.jpg"
    os.utime(image, ns=(1, 1))
    assert prepare(tree, tmp_path / "out", QUIET).reused == 16
    assert len(rasterized) == 2


def test_an_image_that_goes_is_missed_by_the_unit_that_reads_the_xml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "UNIT_SIZE", 1)
    tree = write_tree(tmp_path / "tree")
    assert prepare(tree, tmp_path / "out", QUIET).problems == ()
    gone = "Surface/Surface_001/frame_1_1.jpg"
    (tree / gone).unlink()
    report = prepare(tree, tmp_path / "out", QUIET)
    assert reasons(report) == {gone: "annotated, but there is no such file"}


def test_a_mask_that_was_lost_is_made_again(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    index = prepare(tree, tmp_path / "out", QUIET).index
    mask = tmp_path / "out" / str(index.samples[-1].mask)
    before = mask.read_bytes()
    mask.write_bytes(before[:10])
    prepare(tree, tmp_path / "out", QUIET)
    assert mask.read_bytes() == before


@pytest.mark.parametrize("images", [1, 6])
def test_a_run_that_is_interrupted_is_incomplete_and_then_goes_on(
    images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, calls = write_tree(tmp_path / "tree"), []
    real = polygon_frames.rasterize

    def interrupted(*args: object) -> np.ndarray:
        calls.append(1)
        if len(calls) > images:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(polygon_frames, "rasterize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tree, tmp_path / "out", QUIET)
    with pytest.raises(DatasetError, match="is incomplete; run 'trainer prepare"):
        PreparedIndex.load(tmp_path / "out")
    assert any((tmp_path / "out").rglob("*.png"))
    half_written = sibling(tmp_path / "out/masks/a.png", ".tmp")
    half_written.write_bytes(b"as a kill leaves it")
    os.utime(half_written, (1, 1))
    being_written = sibling(half_written.with_name("b.png"), ".tmp")  # by another process, meanwhile
    being_written.write_bytes(b"half")
    os.utime(being_written, (1 << 32, 1 << 32))
    monkeypatch.setattr(polygon_frames, "rasterize", real)
    report = prepare(tree, tmp_path / "out", QUIET)
    assert report.reused >= (6 if images == 6 else 0)
    assert len(report.index.samples) == 18
    assert not half_written.exists()
    assert being_written.exists()


def test_a_name_that_is_no_text_is_a_problem_of_its_own(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    folder = tree / "Surface/Surface_001"
    Path(os.fsdecode(os.fsencode(folder / "gr") + b"\xfc\xdf.jpg")).write_bytes(b"of another system")
    Path(os.fsdecode(os.fsencode(tree / "Polygon") + b"/\xfc")).mkdir()
    report = prepare(tree, tmp_path / "out", QUIET)
    assert len(report.index.samples) == 18
    found = {item.path: item.reason for item in report.problems}
    assert found == dict.fromkeys(
        ("Surface/Surface_001/gr\ufffd\ufffd.jpg", "Polygon/\ufffd"), "its name is no UTF-8; rename it"
    )


def test_a_failed_run_leaves_the_old_result_as_it_was(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    prepare(tree, tmp_path / "out", QUIET)
    kept = {name: data for name, data in contents(tmp_path / "out").items() if not name.startswith(".units")}
    for xml in tree.rglob("*.xml"):
        xml.write_text("<annotations/>")
    shutil.rmtree(tree / "Depth")
    with pytest.raises(DatasetError, match="nothing usable in it; first of"):
        prepare(tree, tmp_path / "out", QUIET)
    now = contents(tmp_path / "out")
    assert {name: now[name] for name in kept} == kept


def test_a_full_disk_ends_the_run_instead_of_counting_as_bad_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, sync: bool = True) -> None:
        raise DatasetError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(units, "write_atomic", full)
    with pytest.raises(DatasetError, match=r"masks/.*No space left on device"):
        prepare(write_tree(tmp_path / "tree"), tmp_path / "out", QUIET)


def test_stale_masks_go_with_the_run_after(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    prepare(tree, tmp_path / "out", QUIET)
    shutil.rmtree(tree / "Polygon")
    for _ in range(2):
        index = prepare(tree, tmp_path / "out", QUIET).index
    masks = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out/masks").rglob("*.png")
    }
    assert masks == {sample.mask for sample in index.samples if sample.mask}


def test_a_teachers_labels_go_with_the_image_they_were_made_for(tmp_path: Path) -> None:
    tree, out = write_tree(tmp_path / "tree", folders=1), tmp_path / "out"
    index = prepare(tree, out, QUIET).index
    changed, kept = (sample for sample in index.samples if sample.source == "depth")
    for sample in (changed, kept):
        for path in index.pseudo_paths(sample):
            write_image(path)
    write_image(tree / changed.image, seed=77)
    index = prepare(tree, out, QUIET).index
    now = {sample.id: sample for sample in index.samples}
    assert index.load_pseudo(now[changed.id]) is None
    assert all(path.exists() for path in index.pseudo_paths(now[kept.id]))
    # A training that began before may still read them; with the next run they are gone.
    assert all(path.exists() for path in index.pseudo_paths(changed))
    index = prepare(tree, out, QUIET).index
    assert set((out / "pseudo").rglob("*.png")) == set(index.pseudo_paths(kept))


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="holds other files"):
        prepare(write_tree(tmp_path / "tree"), tmp_path / "home", QUIET)
    assert contents(tmp_path / "home") == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.mkdir(), lambda path: (path / "x").mkdir(parents=True)]
)
def test_no_tree_is_one_clear_error(tmp_path: Path, make) -> None:
    make(tmp_path / "tree")
    with pytest.raises(
        DatasetError, match=r"tree: (no such folder|holds none of Surface/, Polygon/ and Depth/)"
    ):
        prepare(tmp_path / "tree", tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


def test_the_worst_xml_of_many_processes_is_still_only_reported(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "Surface/Surface_001/Surface_001.xml").write_bytes(b"\xff\xfe\x00nonsense")
    report = prepare(tree, tmp_path / "out", PrepareOptions(workers=2, progress=False))
    assert len(report.index.samples) == 16
    assert "Surface/Surface_001/Surface_001.xml" in reasons(report)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Ten times the images in a tenth more memory at most; kept images would be 62 MB, their shards 31."""
    for number in range(8):
        write_image(tmp_path / f"{number}.jpg", width=480, height=270, seed=number)
    for name, folders in (("few", 2), ("many", 20)):
        for folder in range(folders):
            path = tmp_path / name / f"Surface/Surface_{folder:03d}"
            path.mkdir(parents=True)
            for number in range(8):
                (path / f"{number}.jpg").hardlink_to(tmp_path / f"{number}.jpg")
            elements = (image_element(f"{number}.jpg", polygon("sidewalk"), 480, 270) for number in range(8))
            (path / "a.xml").write_text(annotations(*elements))
    code = (
        "import resource, sys\n"
        "from safetrip_trainer.data.prepare import PrepareOptions, prepare\n"
        "prepare(sys.argv[1], sys.argv[2], PrepareOptions(workers=1, progress=False))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / name), str(tmp_path / f"{name}-out")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for name in ("few", "many")
    )
    assert many < 1.1 * few, (few, many)
