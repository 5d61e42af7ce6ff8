from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from safetrip_trainer.cli import prepare as verb
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import polygon, write_annotated, write_tree


def call(*arguments: object) -> int | None:
    parser = argparse.ArgumentParser()
    verb.configure(parser)
    return verb.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_summary_counts_samples_classes_and_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "tree")
    write_annotated(tree, "Surface/Surface_001", {"only_cats.jpg": polygon("cat") + polygon("Bike Lane")})
    (tree / "Polygon/Polygon_zip/images").mkdir(parents=True)
    figures = tmp_path / "figures.json"
    done = call(
        tree, "--out", tmp_path / "out", "--val-folders", "002,Depth_003", "--workers", 1, "--json", figures
    )
    assert not done
    printed = capsys.readouterr().out
    assert "Surface/Surface_001/only_cats.jpg: no usable polygon of a known class" in printed
    flowing = " ".join(printed.split())
    assert "label Bike Lane 1 (write it bike_lane), label cat 1 " in flowing
    assert "Polygon/Polygon_zip: no image (*.jpg); what is in images belongs into this folder" in flowing
    written = json.loads(figures.read_text())
    assert written["folders"]["depth"]["val"] == ["Depth/Depth_002", "Depth/Depth_003"]
    assert written["samples"] == {
        "surface": {"train": 2, "val": 2},
        "polygon": {"train": 4, "val": 2},
        "depth": {"train": 2, "val": 4},
    }
    assert written["classes"]["person"]["train_pixels"] == 4 * 17 * 17
    # A share is of its own split's pixels.
    for split in ("train", "val"):
        pixels = {name: row[f"{split}_pixels"] for name, row in written["classes"].items()}
        (row,) = [line for line in printed.splitlines() if " person " in line]
        assert f" {pixels['person'] / sum(pixels.values()):.3%} " in row
    index = PreparedIndex.load(tmp_path / "out")
    assert written["data_hash"] == index.data_hash
    assert {sample.folder for sample in index.split("val")} == set(index.header["split"]["val_folders"])


def test_nothing_usable_is_one_line(tmp_path: Path) -> None:
    write_annotated(tmp_path / "tree", "Surface/Surface_001", {"a.jpg": polygon("cat")})
    with pytest.raises(DatasetError) as caught:
        call(tmp_path / "tree", "--out", tmp_path / "out", "--workers", 1)
    assert "\n" not in str(caught.value)
    assert "a.jpg" in str(caught.value)
