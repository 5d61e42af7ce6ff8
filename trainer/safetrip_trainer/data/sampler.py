"""Batches with a fixed share of each source, on one process or many, from any batch of an epoch on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from safetrip_trainer.errors import DatasetError

__all__ = ["BalancedBatchSampler", "BalancedOrder", "Draw", "ShardSampler"]


class Draw(NamedTuple):
    """One item of a training batch: which sample, and what every random number about it derives from.

    `key` is (seed, epoch, position in the epoch's global order): the same on every number of workers and of
    processes, so that a run that was killed goes on with the very images it would have seen.
    """

    sample: int
    key: tuple[int, int, int]


class BalancedOrder(Sampler[int]):
    """An endless-looking order in which every stretch holds the sources by their ratios.

    Each source is shuffled on its own and starts over, freshly shuffled, when it runs out: a small source is
    seen more often, a large one is not seen whole in one epoch.

    Args:
        sources: the source of each sample.
        ratios: share by source; sources that do not occur are left out, those without a ratio count 0.
        length: how many indices an epoch gives.
        seed: of the shuffling; the epoch is added.
    """

    def __init__(
        self, sources: Sequence[str], ratios: Mapping[str, float], length: int, seed: int = 0
    ) -> None:
        self.members = {
            name: [index for index, source in enumerate(sources) if source == name]
            for name in sorted(set(sources))
            if ratios.get(name, 0.0) > 0
        }
        if not self.members:
            raise DatasetError(f"no sample of {sorted(ratios)}: the set holds {sorted(set(sources))}")
        total = sum(ratios[name] for name in self.members)
        self.shares = {name: ratios[name] / total for name in self.members}
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at each epoch's start: another order, the same on every process."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def _shuffled(self, members: list[int], generator: torch.Generator) -> Iterator[int]:
        while True:
            for position in torch.randperm(len(members), generator=generator).tolist():
                yield members[position]

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        streams = {name: self._shuffled(members, generator) for name, members in self.members.items()}
        given = dict.fromkeys(self.members, 0)
        for position in range(self.length):
            # The source that lags its share the most comes next.
            name = max(streams, key=lambda key: self.shares[key] * (position + 1) - given[key])
            given[name] += 1
            yield next(streams[name])


class BalancedBatchSampler(Sampler[list[Draw]]):
    """Cuts the order into global batches, and each of those into one batch a process.

    Contiguous shares of the order keep the ratios on every process; taking every n-th would not.

    Args:
        sampler: the order, the same on every process.
        batch_size: of one process.
        rank: of this process.
        world_size: how many processes there are.

    Raises:
        DatasetError: there is no sample for each of them: those without would be waited for in vain.
    """

    def __init__(self, sampler: BalancedOrder, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if len(sampler) <= batch_size * (world_size - 1):
            raise DatasetError(
                f"{len(sampler)} training sample(s) are too few for {world_size} processes of "
                f"data.batch_size {batch_size}: some would have none; take a smaller batch or fewer processes"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start = 0

    @property
    def block(self) -> int:
        """Samples in a global batch."""
        return self.batch_size * self.world_size

    def start_at(self, batch: int) -> None:
        """The next epoch handed out begins at this batch; `len` stays that of the whole epoch."""
        self.start = batch

    def __len__(self) -> int:
        return max(len(self.sampler) // self.block, 1)

    def __iter__(self) -> Iterator[list[Draw]]:
        order, seed, epoch = list(self.sampler), self.sampler.seed, self.sampler.epoch
        for number in range(self.start, len(self)):
            first = number * self.block + self.rank * self.batch_size
            batch = [
                Draw(order[position], (seed, epoch, position))
                for position in range(first, min(first + self.batch_size, len(order)))
            ]
            if batch:
                yield batch


class ShardSampler(Sampler[int]):
    """Every `world_size`-th sample from `rank` on: each sample once, none repeated to fill up."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
