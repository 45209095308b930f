"""The samples of a step, or of a chunk of an evaluation, in tensors of a constant shape: ptrain.models.base.Loader."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptrain.data.gather import Gatherer
from ptrain.data.normalization import Normalization, fit_normalization
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.plan import BatchPlan
from ptrain.data.samples import Split
from ptrain.keys import derive_key
from ptrain.native.structs import address

POSITIONS_AHEAD = 4096
"""Positions of the order that are evaluated at once: 32 KiB of them, which cost little more than a few."""

__all__ = ["EvaluationLoader", "Gatherer", "Normalization", "ShardLoader", "fit_normalization"]


class ShardLoader:
    """Fills the tensors of neighbouring gradient shards for any step of any epoch.

    Nothing is remembered between steps but buffers and the order of the last epoch asked for. One ShardLoader serves
    one thread at a time; several over the same split may run in several threads.
    """

    def __init__(
        self,
        split: Split,
        plan: BatchPlan,
        shards: range,
        seed: int,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        """Allocate the buffers; ``plan.num_samples`` is the size of the split, ``shards`` the block of this caller."""
        if plan.num_samples != split.size:
            raise ValueError(f"the plan is for {plan.num_samples} samples, the split has {split.size}")
        self._split, self._plan, self._shards, self._seed = split, plan, shards, seed
        self._gather = Gatherer(split.samples, len(shards), plan.rows, normalization, device)
        self._epoch = -1
        self._order = KeyedPermutation(1, 0)
        self._window: dict[int, tuple[NDArray[np.int64], int, int]] = {}
        self._steps_ahead = max(1, POSITIONS_AHEAD // (len(shards) * plan.rows))

    def select(self, epoch: int, index: int) -> None:
        """Choose the samples of step ``index`` of ``epoch``, and send the device what it needs."""
        if epoch != self._epoch:
            self._order = KeyedPermutation(self._split.size, derive_key(self._seed, "order", epoch))
            self._epoch = epoch
            self._window = {}
        if index not in self._window:
            self._window = self._indices(index)
        self._gather.select(*self._window[index])

    def bind(self, shards: range, features: Tensor, labels: Tensor, weights: Tensor) -> Callable[[], object]:
        """Make the operation that fills these tensors with what was selected for some of the shards.

        features: (shards, rows, F) float32, the stride between shards may be padded. labels: (shards, rows) int64.
        weights: (shards, rows) float32, 1 for a sample; rows without one are 0 with weight 0.
        """
        first = self._shards.start
        return self._gather.bind(range(shards.start - first, shards.stop - first), features, labels, weights)

    def _indices(self, first: int) -> dict[int, tuple[NDArray[np.int64], int, int]]:
        """Choose the samples of the steps from ``first`` on.

        With each step's come how many of them are the next step's, and the address of the first.
        """
        steps = range(first, min(first + self._steps_ahead, self._plan.steps_per_epoch))
        blocks = [self._plan.block(step, self._shards) for step in steps]
        positions = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
        indices = self._split.indices(self._order(positions))
        ends = np.cumsum([len(block) for block in blocks])
        # With those of the next step, whose samples may come near in the meantime.
        coming = [*map(len, blocks[1:]), 0]
        base = address(indices)  # once for all the steps: numpy takes a microsecond to tell it
        return {
            step: (indices[end - len(block) : end + more], more, base + indices.itemsize * (end - len(block)))
            for step, block, end, more in zip(steps, blocks, ends.tolist(), coming, strict=True)
        }


class EvaluationLoader:
    """Fills tensors with one chunk of a split after the other, in natural order, all chunks of the same shape."""

    def __init__(self, split: Split, rows: int, normalization: Normalization, device: torch.device) -> None:
        """Allocate the buffers for chunks of ``rows`` samples."""
        self._split, self._rows = split, rows
        self._gather = Gatherer(split.samples, 1, rows, normalization, device)

    @property
    def num_chunks(self) -> int:
        """Chunks that the split is cut into; the last one may be padded."""
        return -(-self._split.size // self._rows)

    def select(self, epoch: int, index: int) -> None:
        """Choose chunk ``index``, the same in every epoch."""
        start = index * self._rows
        positions = np.arange(start, min(start + self._rows, self._split.size))
        self._gather.select(self._split.indices(positions))

    def bind(self, shards: range, features: Tensor, labels: Tensor, weights: Tensor) -> Callable[[], object]:
        """Make the operation that fills these tensors with the chunk, which is one shard."""
        return self._gather.bind(shards, features, labels, weights)
