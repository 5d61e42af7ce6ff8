"""The loaders: the same images on any number of workers, from any batch on, whatever file is broken."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from safetrip_trainer.data.augment import evaluation_transform
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.files import write_atomic
from safetrip_trainer.data.images import encode_png
from safetrip_trainer.data.loader import SampleLoader
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.data.source import TreeSource
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import write_tree

QUIET = PrepareOptions(workers=1, progress=False)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tree and what was prepared of it."""
    folder = tmp_path_factory.mktemp("loader")
    prepare(write_tree(folder / "tree", folders=4), folder / "out", QUIET)
    return folder


@pytest.fixture
def tree(original: Path, tmp_path: Path) -> Path:
    """A copy's tree, to be damaged."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tree"


def _module(tree: Path, **options: Any) -> SafetripDataModule:
    settings: dict[str, Any] = {"size": (16, 24), "batch_size": 3, "num_workers": 0, **options}
    module = SafetripDataModule(str(tree.parent / "out"), **settings)
    module.setup("fit")
    return module


def _loader(tree: Path, epoch: int = 0, **options: Any) -> SampleLoader:
    loader = _module(tree, **options).train_dataloader()
    loader.batch_sampler.sampler.set_epoch(epoch)
    return loader


def _same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    return len(one) == len(two) and all(
        a["name"] == b["name"] and all(torch.equal(a[key], b[key]) for key in ("image", "labels", "depth"))
        for a, b in zip(one, two)
    )


def test_a_batch_carries_its_names_and_lies_channels_last(tree: Path) -> None:
    batch = next(iter(_loader(tree)))
    assert set(batch) == {"image", "labels", "depth", "name"}
    assert [name.split("/")[0] for name in batch["name"]] in (["Depth", "Polygon", "Surface"],)
    assert batch["image"].shape == (3, 3, 16, 24)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["labels"].dtype == torch.int64
    assert batch["depth"].dtype == torch.float32


def test_images_do_not_depend_on_workers_or_on_the_global_generator(tree: Path) -> None:
    torch.manual_seed(1)
    alone = list(_loader(tree))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert _same(alone, list(_loader(tree, num_workers=2)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not _same(alone, list(_loader(tree, seed=1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_at_the_next_batch(tree: Path, workers: int) -> None:
    whole = list(_loader(tree, epoch=2))
    first = _loader(tree, epoch=2, num_workers=workers)
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    state = first.state_dict()
    assert state == {"epoch": 2, "samples": 9}

    second = _loader(tree, num_workers=workers)
    second.load_state_dict(state)
    waiting = iter(second)  # as Lightning does it: the iterator first, then the epoch
    second.batch_sampler.sampler.set_epoch(2)
    assert _same(list(waiting), whole[3:])
    assert len(second) == len(whole)
    second.batch_sampler.sampler.set_epoch(3)
    assert _same(list(second), list(_loader(tree, epoch=3)))
    # A state of another epoch than the one that begins says nothing of it.
    second.load_state_dict(state)
    assert _same(list(second), list(_loader(tree, epoch=3)))


def test_two_processes_see_what_one_sees(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(_loader(tree, batch_size=6))
    for rank in range(2):
        monkeypatch.setattr(SafetripDataModule, "_place", lambda self, rank=rank: (rank, 2))
        for part, batch in zip(list(_loader(tree, batch_size=3)), whole):
            assert part["name"] == batch["name"][rank * 3 : rank * 3 + 3]
            assert torch.equal(part["image"], batch["image"][rank * 3 : rank * 3 + 3])
    validated: list[str] = []
    for rank in range(2):
        monkeypatch.setattr(SafetripDataModule, "_place", lambda self, rank=rank: (rank, 2))
        validated += [name for batch in _module(tree).val_dataloader() for name in batch["name"]]
    assert sorted(validated) == sorted(sample.id for sample in _module(tree).index.split("val"))


def test_validation_sees_what_the_robot_sees_and_only_certain_truth(tree: Path) -> None:
    module = _module(tree, pseudo_confidence=0.1)
    index, samples = module.index, module.index.split("val")
    for sample in samples:
        if sample.mask is None:
            for path in index.pseudo_paths(sample):
                write_atomic(path, encode_png(np.full((16, 24), 200 if "conf" in path.name else 3, np.uint8)))
    transform = evaluation_transform((16, 24))
    expected = [transform(TreeSource(index).read(sample, 255), np.random.default_rng()) for sample in samples]
    given = [
        item
        for batch in module.val_dataloader()
        for item in zip(batch["image"], batch["labels"], batch["depth"])
    ]
    assert len(given) == len(expected)
    for item, wanted in zip(given, expected):
        assert all(torch.equal(one, other) for one, other in zip(item, wanted[:3]))
    # Of the stereo depth the lower half is certain.
    assert 0 < max(int((item.depth > 0).sum()) for item in expected) <= 8 * 24


def test_options_reach_the_samples(tree: Path) -> None:
    options: dict[str, Any] = {
        "zoom": (1.5, 3.0), "jitter": 0.1, "rare_probability": 0.4, "rare_classes": ["bus"], "seed": 5,
        "min_confidence": 77, "pseudo_confidence": 0.6, "pseudo_weighted": True, "max_unreadable": 3,
    }  # fmt: skip
    module = _module(tree, cache="off", **options)
    loader = module.train_dataloader()
    dataset, transform = loader.dataset, loader.dataset.transform
    assert (dataset.min_confidence, dataset.pseudo_confidence, dataset.tries) == (77, 0.6, 4)
    assert dataset.pseudo_weighted
    assert (transform.size, transform.zoom, transform.jitter) == ((16, 24), (1.5, 3.0), 0.1)
    assert (transform.rare_probability, transform.rare_classes.tolist()) == (0.4, [8])
    assert loader.batch_sampler.sampler.seed == 5
    # The most zoomed window still holds the net's input.
    assert dataset.source.decode_size == (48, 72)


def test_rare_classes_are_those_of_few_pixels_in_training(tree: Path) -> None:
    module = _module(tree)
    counts = {"train": {0: 9_000, 2: 101, 6: 80}, "val": {0: 1, 6: 10**9}}
    samples = tuple(replace(sample, pixels=counts.pop(sample.split, {})) for sample in module.index.samples)
    module._index = replace(module.index, samples=samples)
    assert set(module._rare_classes()) == set(range(24)) - {0, 2}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_once_and_replaced(
    tree: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = list(_loader(tree, cache="off"))
    victim = next(name for batch in whole for name in batch["name"] if name.startswith("Surface"))
    (tree / f"{victim}.jpg").write_bytes(b"")
    loader = _loader(tree, num_workers=workers, cache="off", max_unreadable=1)
    with caplog.at_level(logging.WARNING):
        batches = [batch for _ in range(2) for batch in loader]
    assert [record.getMessage().count(f"{victim}.jpg: empty file") for record in caplog.records] == [1]
    for batch in batches:
        assert victim not in batch["name"]
        assert sum(name.startswith("Surface") for name in batch["name"]) == 1
    again = list(_loader(tree, cache="off", max_unreadable=1))
    assert _same(again, batches[: len(again)])


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_unreadable_images_are_one_error_of_one_line(tree: Path, workers: int) -> None:
    for image in tree.glob("Polygon/*/*.jpg"):
        image.unlink()
    with pytest.raises(DatasetError, match=r"3 unreadable.*data.max_unreadable=2.*Polygon") as caught:
        list(_loader(tree, num_workers=workers, cache="off", max_unreadable=2))
    assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match="no readable sample left of a source") as caught:
        list(_loader(tree, num_workers=workers, cache="off", max_unreadable=100))
    assert "\n" not in str(caught.value)


def test_an_unreadable_image_counts_for_nothing_in_validation(tree: Path) -> None:
    module = _module(tree)
    before = list(module.val_dataloader())
    name = before[0]["name"][0]
    next(tree.glob(f"{name}*.jpg" if not name.startswith("Depth") else f"{name}_L.png")).unlink()
    after = list(module.val_dataloader())
    assert [batch["name"] for batch in after] == [batch["name"] for batch in before]
    assert bool((after[0]["labels"][0] == 255).all())
    assert not after[0]["depth"][0].any()
    assert torch.equal(after[0]["image"][1:], before[0]["image"][1:])


def test_a_rare_class_that_does_not_exist_is_named(tree: Path) -> None:
    with pytest.raises(DatasetError, match="no class unicorn"):
        _loader(tree, rare_classes=["unicorn"])


def test_a_process_without_a_frame_to_validate_is_told_of_at_the_start(tree: Path) -> None:
    module = _module(tree)
    count = len(module.val_dataloader().dataset)  # type: ignore[arg-type]
    module.trainer = SimpleNamespace(global_rank=0, world_size=count, accelerator=None)  # type: ignore[assignment]
    module.val_dataloader()
    module.trainer.world_size += 1  # type: ignore[union-attr,misc]
    with pytest.raises(DatasetError, match=f"{count} val sample.* for {count + 1} processes"):
        module.val_dataloader()
