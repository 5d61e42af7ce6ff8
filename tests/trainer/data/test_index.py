from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.index import PreparedIndex, Sample
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import write_tree


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    out = tmp_path / "data/prepared"
    prepare(write_tree(tmp_path / "data/tree", folders=2), out, PrepareOptions(workers=1, progress=False))
    return out


def edit_header(prepared: Path, **values: object) -> None:
    path = prepared / "prepared.json"
    header = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in header.items() if value is not None}))


def test_a_sample_survives_json() -> None:
    sample = Sample("a", "surface", "b", "train", 4, 3, "a.jpg", "00", mask="m.png", pixels={3: 7, 20: 1})
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample


@pytest.mark.parametrize("key", ["id", "folder", "image", "mask", "disparity", "confidence", "depth"])
@pytest.mark.parametrize("path", ["/root/.profile", "../../victim/out", "a/../../b", "", "a\0b"])
def test_a_sample_names_nothing_outside_of_the_tree(key: str, path: str) -> None:
    value = Sample("a", "depth", "b", "train", 4, 3, "a.jpg", "00").to_json() | {key: path}
    with pytest.raises(ValueError, match=key):
        Sample.from_json(value)


@pytest.mark.parametrize("path", ["Surface/Straße 1/a..b.jpg", "Depth/10.00\u202fAM", "Polygon/보도/…"])
def test_a_tree_may_be_named_in_any_script(path: str) -> None:
    sample = Sample(path, "surface", path, "train", 4, 3, path, "00")
    assert Sample.from_json(sample.to_json()) == sample


def test_an_index_that_leaves_its_folder_is_one_error(prepared: Path) -> None:
    (path,) = prepared.glob("index-*.jsonl")
    first, *others = path.read_text().splitlines()
    moved = json.loads(first) | {"id": "../../victim/out"}
    path.write_text("\n".join([json.dumps(moved), *others]) + "\n")
    with pytest.raises(DatasetError, match=r"line 1 damaged \(id '../../victim/out' leads out of the tree"):
        PreparedIndex.load(prepared)


def test_the_index_travels_to_loader_processes(prepared: Path) -> None:
    index = PreparedIndex.load(prepared)
    index.split("train")
    copy = pickle.loads(pickle.dumps(index))  # noqa: S301 - our own bytes: what a DataLoader does
    assert copy.samples == index.samples
    assert copy.split("val") == index.split("val")


def test_tree_and_prepared_may_move_together(prepared: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data", tmp_path / "moved")
    index = PreparedIndex.load(tmp_path / "moved/prepared")
    assert index.load_image(index.samples[0]).ndim == 3
    assert index.root == tmp_path / "moved/tree"


def test_prepared_alone_may_move(prepared: Path, tmp_path: Path) -> None:
    shutil.move(prepared, tmp_path / "elsewhere")
    assert PreparedIndex.load(tmp_path / "elsewhere").root == (tmp_path / "data/tree").resolve()


def test_a_tree_that_is_gone_is_named_and_another_may_be_given(prepared: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data/tree", tmp_path / "archive")
    with pytest.raises(DatasetError, match=r"its tree is gone \(looked in .*tree"):
        PreparedIndex.load(prepared)
    assert PreparedIndex.load(prepared, root=tmp_path / "archive").root == tmp_path / "archive"


def test_absent_incomplete_and_newer_each_say_what_to_do(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: does not exist; run 'trainer prepare"):
        PreparedIndex.load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"tree: is a raw tree; run 'trainer prepare .*tree-prepared"):
        PreparedIndex.load(tmp_path / "data" / "tree")
    edit_header(prepared, schema_version=3)
    with pytest.raises(DatasetError, match="schema 3 is newer than this version's 2; update safetrip"):
        PreparedIndex.load(prepared)
    edit_header(prepared, schema_version="x")
    with pytest.raises(DatasetError, match=r"prepared\.json: damaged"):
        PreparedIndex.load(prepared)
    (prepared / "prepared.json").write_text("{")
    with pytest.raises(DatasetError, match=r"prepared\.json: not valid JSON"):
        PreparedIndex.load(prepared)
    (prepared / "prepared.json").unlink()
    with pytest.raises(DatasetError, match="is incomplete"):
        PreparedIndex.load(prepared)


def test_a_damaged_index_is_found(prepared: Path) -> None:
    (path,) = prepared.glob("index-*.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(DatasetError, match=r"damaged \(11 samples"):
        PreparedIndex.load(prepared)
    path.write_text("\n".join([lines[0][:-5], *lines[1:]]))
    with pytest.raises(DatasetError, match="line 1 damaged"):
        PreparedIndex.load(prepared)


@pytest.mark.parametrize("key", ["index", "class_weights", "data_hash"])
def test_a_header_without_a_part_names_it(prepared: Path, key: str) -> None:
    edit_header(prepared, **{key: None})
    with pytest.raises(DatasetError, match=f"no {key}"):
        PreparedIndex.load(prepared)


def test_an_unknown_split_is_an_error(prepared: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'test'"):
        PreparedIndex.load(prepared).split("test")


def test_an_image_truncated_after_prepare_is_an_error_not_a_grey_picture(prepared: Path) -> None:
    index = PreparedIndex.load(prepared)
    path = index.root / index.split("train")[-1].image
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=f"{path.name}: truncated"):
        index.load_image(index.split("train")[-1])


def test_pseudo_labels_are_found_once_both_files_are_there(prepared: Path) -> None:
    index = PreparedIndex.load(prepared)
    sample = next(sample for sample in index.samples if sample.source == "depth")
    labels, confidence = index.pseudo_paths(sample)
    assert index.load_pseudo(sample) is None
    labels.parent.mkdir(parents=True)
    value = np.arange(12, dtype=np.uint8).reshape(3, 4)
    labels.write_bytes(encode_png(value))
    assert index.load_pseudo(sample) is None
    confidence.write_bytes(encode_png(value * 2))
    loaded = index.load_pseudo(sample)
    assert loaded is not None
    np.testing.assert_array_equal(loaded[0], value)
    np.testing.assert_array_equal(loaded[1], value * 2)


def test_a_copy_reads_its_own_tree(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert PreparedIndex.load(prepared).root.resolve() == tmp_path / "data/tree"
    assert PreparedIndex.load(tmp_path / "copy/prepared").root.resolve() == tmp_path / "copy/tree"
