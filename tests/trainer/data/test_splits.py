from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.data.splits import split_by_fraction, split_by_name
from safetrip_trainer.data.tree import Folder
from safetrip_trainer.errors import DatasetError

TOPS = {
    "surface": "Surface/Surface_{:03d}",
    "polygon": "Polygon/Polygon_{:04d}",
    "depth": "Depth/Depth_{:03d}",
}


def folders(**numbers: list[int]) -> list[Folder]:
    return [
        Folder(source, TOPS[source].format(number), ("a",), ("a.xml",))
        for source, members in numbers.items()
        for number in members
    ]


def val(splits: dict[str, str]) -> set[str]:
    return {path for path, split in splits.items() if split == "val"}


@pytest.mark.parametrize("name", ["Surface_002", "Surface/Surface_002", "Surface/Surface_002/"])
def test_a_name_chooses_one_folder(name: str) -> None:
    splits, _ = split_by_name(folders(surface=[1, 2], polygon=[1, 2]), [name])
    assert val(splits) == {"Surface/Surface_002"}


@pytest.mark.parametrize("name", ["2", "002", "0002"])
def test_a_number_chooses_in_every_source(name: str) -> None:
    splits, _ = split_by_name(folders(surface=[1, 2], polygon=[1, 2], depth=[1]), [name])
    assert val(splits) == {"Surface/Surface_002", "Polygon/Polygon_0002"}


def test_an_unknown_name_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(DatasetError, match=r"'Surface_009'; there are Surface_001"):
        split_by_name(folders(surface=[1, 2]), ["Surface_009"])


def test_everything_held_out_is_an_error() -> None:
    with pytest.raises(DatasetError, match="leave some to train on"):
        split_by_name(folders(surface=[1, 2]), ["1", "2"])


def test_a_source_with_one_folder_trains_and_the_notes_say_so() -> None:
    splits, notes = split_by_fraction(folders(surface=[1, 2, 3], depth=[4]), 0.3, 0)
    assert splits["Depth/Depth_004"] == "train"
    assert notes == ["depth: no validation folder, its only folder (Depth_004) trains"]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_senseless_fraction_is_an_error(fraction: float) -> None:
    with pytest.raises(DatasetError, match="--val-fraction"):
        split_by_fraction(folders(surface=[1, 2]), fraction, 0)


def test_seeds_differ() -> None:
    members = folders(surface=list(range(1, 40)))
    assert len({tuple(sorted(val(split_by_fraction(members, 0.2, seed)[0]))) for seed in range(5)}) == 5


numbers = st.lists(st.integers(1, 30), unique=True, max_size=14)


@given(numbers, numbers, numbers, st.floats(0.05, 0.9), st.integers(0, 99))
def test_any_tree_is_split_by_whole_folders_in_every_source(
    surface: list[int], polygon: list[int], depth: list[int], fraction: float, seed: int
) -> None:
    members = folders(surface=surface, polygon=polygon, depth=depth)
    splits, _ = split_by_fraction(members, fraction, seed)
    shuffled = Random(seed).sample(members, len(members))
    assert splits == split_by_fraction(shuffled, fraction, seed)[0]
    for source in TOPS:
        held = [splits[folder.path] for folder in members if folder.source == source]
        expected = 0 if len(held) < 2 else min(max(round(len(held) * fraction), 1), len(held) - 1)
        assert held.count("val") == expected


@given(st.lists(st.integers(1, 60), unique=True, min_size=2, max_size=20), st.integers(0, 99))
def test_the_same_number_goes_the_same_way(members: list[int], seed: int) -> None:
    splits, _ = split_by_fraction(folders(surface=members, polygon=members, depth=members), 0.25, seed)
    for number in members:
        assert len({splits[top.format(number)] for top in TOPS.values()}) == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_number_that_two_sources_share_is_chosen_before_others(seed: int) -> None:
    """Chosen later, it would find the larger source full, and one walk would train and validate."""
    splits, _ = split_by_fraction(folders(surface=list(range(1, 9)), polygon=[1, 2]), 0.125, seed)
    held = {path.rsplit("_", 1)[-1].lstrip("0") for path in val(splits)}
    assert len(val(splits)) == 2
    assert len(held) == 1
