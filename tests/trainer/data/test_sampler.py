"""Every batch holds the sources by their ratios, on one process and on several."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetrip_trainer.data.sampler import BalancedBatchSampler, BalancedOrder, Draw, ShardSampler
from safetrip_trainer.errors import DatasetError

SOURCES = ["surface"] * 50 + ["polygon"] * 40 + ["depth"] * 4
RATIOS = {"surface": 2.0, "polygon": 1.0, "depth": 1.0}


def _counts(batch: list[Draw]) -> Counter[str]:
    return Counter(SOURCES[draw.sample] for draw in batch)


def test_every_batch_has_the_ratios() -> None:
    batches = list(BalancedBatchSampler(BalancedOrder(SOURCES, RATIOS, 94), batch_size=8))
    assert len(batches) == 94 // 8
    for batch in batches:
        assert _counts(batch) == {"surface": 4, "polygon": 2, "depth": 2}


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 3))
def test_processes_share_the_global_batch(world: int, batch_size: int, epoch: int) -> None:
    def order() -> BalancedOrder:
        result = BalancedOrder(SOURCES, RATIOS, 94)
        result.set_epoch(epoch)
        return result

    whole = list(BalancedBatchSampler(order(), batch_size * world))
    parts = [list(BalancedBatchSampler(order(), batch_size, rank, world)) for rank in range(world)]
    assert {len(part) for part in parts} == {len(whole)}
    for position, batch in enumerate(whole):
        assert [index for part in parts for index in part[position]] == batch


def test_epochs_differ_and_repeat() -> None:
    order = BalancedOrder(SOURCES, RATIOS, 94)
    first = list(order)
    assert list(order) == first
    order.set_epoch(1)
    assert list(order) != first
    # Nor is a seed the epoch of another seed.
    assert list(BalancedOrder(SOURCES, RATIOS, 94, seed=1)) not in (list(order), first)


def test_an_epoch_goes_on_from_any_batch() -> None:
    sampler = BalancedBatchSampler(BalancedOrder(SOURCES, RATIOS, 94), batch_size=8)
    whole = list(sampler)
    sampler.start_at(4)
    assert list(sampler) == whole[4:]
    assert len(sampler) == len(whole)


def test_every_position_of_every_epoch_has_its_own_key() -> None:
    order = BalancedOrder(SOURCES, RATIOS, 94, seed=3)
    keys = set()
    for epoch in range(3):
        order.set_epoch(epoch)
        keys |= {draw.key for batch in BalancedBatchSampler(order, 8) for draw in batch}
    assert len(keys) == 3 * (94 // 8) * 8
    assert {key[0] for key in keys} == {3}


def test_a_source_is_seen_whole_before_it_repeats() -> None:
    order = [index for index in BalancedOrder(SOURCES, RATIOS, 94) if SOURCES[index] == "depth"]
    for start in range(0, len(order) - 4, 4):
        assert len(set(order[start : start + 4])) == 4


def test_only_named_sources_take_part() -> None:
    assert {SOURCES[i] for i in BalancedOrder(SOURCES, {"polygon": 1.0}, 60)} == {"polygon"}
    with pytest.raises(DatasetError, match="kitti"):
        BalancedOrder(SOURCES, {"kitti": 1.0}, 10)


def test_a_set_smaller_than_the_batch_still_gives_one() -> None:
    batches = list(BalancedBatchSampler(BalancedOrder(["surface"] * 3, RATIOS, 3), batch_size=8))
    assert [sorted(draw.sample for draw in batch) for batch in batches] == [[0, 1, 2]]


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4))
def test_every_process_has_a_batch_or_none_begins(length: int, batch_size: int, world: int) -> None:
    def batches(rank: int) -> list[list[Draw]]:
        order = BalancedOrder(["surface"] * length, RATIOS, length)
        return list(BalancedBatchSampler(order, batch_size, rank, world))

    if length > batch_size * (world - 1):
        assert {len(batches(rank)) for rank in range(world)} == {max(length // (batch_size * world), 1)}
        return
    for rank in range(world):
        with pytest.raises(DatasetError, match=f"{length} training sample.* too few for {world} processes"):
            batches(rank)


@given(st.integers(0, 30), st.integers(1, 5))
def test_shards_hold_each_sample_once(length: int, world: int) -> None:
    shards = [list(ShardSampler(length, rank, world)) for rank in range(world)]
    assert sorted(index for shard in shards for index in shard) == list(range(length))
