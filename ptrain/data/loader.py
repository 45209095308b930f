"""The samples of a step, or of a chunk of an evaluation, in tensors of a constant shape."""

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
from ptrain.native import Call, address, set_indices

POSITIONS_AHEAD = 4096
"""Positions of the order that are evaluated at once."""

__all__ = ["EvaluationLoader", "Gatherer", "Normalization", "ShardLoader", "fit_normalization"]


class ShardLoader:
    """Fills the tensors of neighbouring gradient shards for any step of any epoch.

    Nothing is remembered between calls but buffers and the order of the last epoch asked for. One ShardLoader serves
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
        self._bound: Call | None = None

    def fill(self, epoch: int, step: int, features: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Fill the tensors with the samples of ``step`` of ``epoch``; rows without one are 0 with weight 0.

        features: (shards, rows, F) float32, the stride between shards may be padded. labels: (shards, rows) int64.
        weights: (shards, rows) float32, 1 for a sample.
        """
        self.aim(epoch, step)
        indices, ahead, _ = self._aimed
        self._gather(indices, features, labels, weights, ahead=ahead)

    def send(self, epoch: int, step: int) -> None:
        """Tell the device which samples the step has, without waiting for it: the host's part of ``fill``."""
        self.aim(epoch, step)
        indices, ahead, _ = self._aimed
        self._gather.send(indices[: len(indices) - ahead])

    def collect(self) -> None:
        """Bring together, on the device, what was sent: as ``take``, with the same operations on every step."""
        self._gather.collect()

    def take(self, shards: range, features: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Fill tensors, as ``fill`` does, with some of the shards of what was collected last."""
        first = self._shards.start
        self._gather.take(slice(shards.start - first, shards.stop - first), features, labels, weights)

    def bind(self, features: Tensor, labels: Tensor, weights: Tensor) -> Callable[[], object]:
        """Return what fills these tensors, as ``fill`` does, with the samples of ``aim``: if possible compiled."""
        self._bound = self._gather.bind(features, labels, weights)
        if self._bound is not None:
            return self._bound
        return lambda: self._gather(self._aimed[0], features, labels, weights, ahead=self._aimed[1])

    def aim(self, epoch: int, step: int) -> None:
        """Choose the samples of ``step`` of ``epoch``."""
        if epoch != self._epoch:
            self._order = KeyedPermutation(self._split.size, derive_key(self._seed, "order", epoch))
            self._epoch = epoch
            self._window = {}
        if step not in self._window:
            self._window = self._indices(step)
        indices, ahead, place = self._aimed = self._window[step]
        if self._bound is not None:
            set_indices(self._bound, indices, len(indices) - ahead, ahead, place)

    def _indices(self, first: int) -> dict[int, tuple[NDArray[np.int64], int, int]]:
        """Return the samples of the steps from ``first`` on: a few steps at a time cost little more than one.

        With each step's come the number of those that are the next step's, and the address of the first.
        """
        steps = range(first, min(first + self._steps_ahead, self._plan.steps_per_epoch))
        blocks = [self._plan.block(step, self._shards) for step in steps]
        positions = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
        indices = self._split.indices(self._order(positions))
        ends = np.cumsum([len(block) for block in blocks])
        # With those of the next step, whose samples may come near in the meantime.
        coming = [*map(len, blocks[1:]), 0]
        place = address(indices)
        return {
            step: (indices[end - len(block) : end + more], more, place + indices.itemsize * (end - len(block)))
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

    def fill(self, chunk: int, features: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Fill the tensors with a chunk; rows without a sample are 0 with weight 0.

        features: (rows, F) float32. labels: (rows,) int64. weights: (rows,) float32, 1 for a sample.
        """
        start = chunk * self._rows
        positions = np.arange(start, min(start + self._rows, self._split.size))
        self._gather(self._split.indices(positions), features[None], labels[None], weights[None])
