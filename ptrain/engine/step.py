"""One training step: local shards, ordered sum over all ranks, update. The same bits on any number of ranks."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from ptrain.comm.base import Communicator
from ptrain.comm.ordered import OrderedSum
from ptrain.config import Config
from ptrain.engine.block import Block, DropoutKey, parameters_for
from ptrain.engine.mlp import ALIGNMENT, Layout
from ptrain.engine.optimizers import Slice, learning_rate, update_
from ptrain.engine.state import State
from ptrain.engine.tree import plan_local_sum
from ptrain.engine.workers import Workers
from ptrain.errors import DivergedError

CONTROL = 4 * ALIGNMENT
"""Elements behind the gradient that travel with it: [loss sum, number of ranks asked to stop, unused …]."""
WORKSPACE_LIMIT = 2**30
"""Bytes of shard gradients held at once; above it shards are computed in turn."""


class Loader(Protocol):
    """What fills a block's inputs with the rows of its shards."""

    def fill(self, epoch: int, step: int, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Fill (shards, rows, inputs), (shards, rows) and (shards, rows) for one step of an epoch."""


class TrainingStep:
    """Everything that a step needs, allocated once.

    Args:
        config: the configuration of the run.
        layout: places of the parameters.
        state: parameters, optimizer vectors and counters; changed by every step.
        comm: the ranks.
        owners: the shards of every rank, in rank order.
        rows: rows of a shard.
        steps_per_epoch: for the learning rate.
        make_loader: returns the loader of a contiguous range of shards.
        class_weights: (classes,) float32 weights in the loss, or None.
        threads: threads of this rank.
        device: where to compute.
        beat: told what the step does next, and whether it then waits for other ranks.
    """

    def __init__(
        self,
        *,
        config: Config,
        layout: Layout,
        state: State,
        comm: Communicator,
        owners: Sequence[range],
        rows: int,
        steps_per_epoch: int,
        make_loader: Callable[[range], Loader],
        class_weights: torch.Tensor | None,
        threads: int,
        device: torch.device,
        beat: Callable[[str, bool], None] = lambda doing, waits: None,
    ):
        self.beat = beat
        self.config = config
        self.layout = layout
        self.state = state
        self.comm = comm
        self.shards = owners[comm.info.rank]
        self.steps_per_epoch = steps_per_epoch
        self.class_weights = class_weights
        self.workers = Workers(max(1, min(threads, len(self.shards))))
        length = layout.length + CONTROL

        group_size = len(self.shards)
        if device.type != "cpu":
            # A batched product on a GPU may choose its kernel by the number of matrices, so shards run one by one.
            group_size = 1
        elif group_size * length * 4 > WORKSPACE_LIMIT:
            group_size = self.workers.count
        self._plan = plan_local_sum(self.shards, config.train.shards, group_size)
        self._ordered = OrderedSum(comm, owners, length, device=device)
        self._workspace = torch.zeros(self._plan.num_rows, self._ordered.padded_length, device=device)
        self._gradient_views = layout.views(self._workspace[:, : layout.length])
        self._columns = [slice(p.start, p.stop) for p in self._parts(length)]
        self._parameters = parameters_for(state.parameters, config.train.precision)
        self._blocks: dict[range, Block] = {}
        self._loaders: dict[range, Loader] = {}
        for shards in self._block_ranges():
            self._loaders[shards] = make_loader(shards)
            self._blocks[shards] = Block(
                layout=layout,
                model=config.model,
                precision=config.train.precision,
                parameters=self._parameters,
                shards=len(shards),
                rows=rows,
                device=device,
            )
        self._scratch = torch.zeros(layout.length, device=device)
        decay = config.optimizer.weight_decay
        self._decay = layout.weight_mask(device).mul_(decay) if decay else None
        self._slices = [slice(p.start, p.stop) for p in self._parts(layout.length)]

    def _parts(self, length: int) -> list[range]:
        return [self.workers.part(range(length), index, ALIGNMENT) for index in range(self.workers.count)]

    def _block_ranges(self) -> list[range]:
        parts = [
            self.workers.part(group.shards, index) for group in self._plan.groups for index in range(self.workers.count)
        ]
        return [part for part in parts if len(part)]

    def run(self, epoch: int, step: int, valid_rows: int, stop: bool = False) -> bool:
        """Do step ``step`` of ``epoch`` (both from 0), whose global batch has ``valid_rows`` rows.

        Returns whether any rank passed ``stop``: the same answer on every rank, without a further exchange.

        Raises:
            DivergedError: the loss or the gradient is not finite; the parameters are as before the step.
        """
        state = self.state
        self.beat(f"computing step {state.step}", False)
        self._local(epoch, step)
        self.beat(f"exchanging the gradient of step {state.step}", True)
        control = self._workspace[self._plan.nodes[0][1], self.layout.length :]
        control[1] = float(stop)
        total = self._reduce()
        loss, stops = total[self.layout.length : self.layout.length + 2].tolist()
        gradient = total[: self.layout.length]
        if not (math.isfinite(loss) and math.isfinite(gradient.sum().item())):
            self._diverged(epoch, step)
        gradient.div_(float(valid_rows))
        clip = self.config.optimizer.clip_norm
        if clip is not None:
            norm = torch.linalg.vector_norm(gradient).item()
            if norm > clip:
                gradient.mul_(clip / norm)
        self._update(gradient)
        state.step += 1
        return bool(stops > 0)

    def _local(self, epoch: int, step: int) -> None:
        """Compute all local shards into the workspace and add up complete subtrees."""
        for group in self._plan.groups:

            def compute(index: int, shards: range = group.shards) -> None:
                part = self.workers.part(shards, index)
                if len(part):
                    self._compute(epoch, step, part, part.start - shards.start)

            def add_up(index: int, operations: list[tuple[str, int, int]] = group.operations) -> None:
                columns = self._workspace[:, self._columns[index]]
                for operation, row, other in operations:
                    if operation == "add":
                        columns[row].add_(columns[other])
                    else:
                        columns[row].copy_(columns[other])

            self.workers.run(compute)
            self.workers.run(add_up)

    def _compute(self, epoch: int, step: int, shards: range, row: int) -> None:
        """Compute a block of shards into the workspace rows from ``row`` on, and count losses and hits."""
        block = self._blocks[shards]
        rows = slice(row, row + len(shards))
        self._loaders[shards].fill(epoch, step, block.features, block.labels, block.weights)
        weights = block.weights
        if self.class_weights is not None:
            weights = weights * self.class_weights[block.labels]
        views = {name: view[rows] for name, view in self._gradient_views.items()}
        block.train(weights, views, DropoutKey(seed=self.config.train.seed, step=self.state.step, shards=shards))
        torch.sum(block.row_losses, dim=1, out=self._workspace[rows, self.layout.length])
        self._workspace[rows, self.layout.length + 1 :].zero_()
        local = slice(shards.start - self.shards.start, shards.stop - self.shards.start)
        self.state.row_losses[local] += block.row_losses
        hits = (block.outputs.argmax(-1) == block.labels) & (block.weights > 0)
        self.state.row_hits[local] += hits

    def _reduce(self) -> torch.Tensor:
        """Return the sum over all shards: (length,)."""
        partials = [(start, size, self._workspace[row]) for (start, size), row in self._plan.nodes]
        if self.config.train.reduction == "ordered":
            return self._ordered(partials)
        first = partials[0][2]
        for _, _, other in partials[1:]:
            first.add_(other)
        return self.comm.all_reduce_(first)[: self.layout.length + CONTROL]

    def _update(self, gradient: torch.Tensor) -> None:
        state = self.state
        rate = learning_rate(self.config.optimizer, state.step, self.steps_per_epoch, self.config.train.epochs)

        def update(index: int) -> None:
            part = self._slices[index]
            vectors = Slice(
                parameters=state.parameters[part],
                gradient=gradient[part],
                decay=None if self._decay is None else self._decay[part],
                scratch=self._scratch[part],
                state={name: vector[part] for name, vector in state.optimizer.items()},
            )
            update_(self.config.optimizer, rate, state.step, vectors)

        self.workers.run(update)
        self._parameters.refresh()

    def _diverged(self, epoch: int, step: int) -> None:
        """Compute the step's shards once more, find the first that is not finite and raise DivergedError everywhere."""
        found = None
        for group in self._plan.groups:
            for part in (self.workers.part(group.shards, index) for index in range(self.workers.count)):
                if found is None and len(part):
                    self._compute(epoch, step, part, part.start - group.shards.start)
                    finite = self._workspace[part.start - group.shards.start :][: len(part)].isfinite()
                    bad = (~finite.all(dim=1)).nonzero()
                    if len(bad):
                        row = int(bad[0])
                        loss_finite = bool(finite[row, self.layout.length])
                        found = (part.start + row, "gradient" if loss_finite else "loss")
        reports = [report for report in self.comm.all_gather_object(found) if report is not None]
        where = f"shard {reports[0][0]}: its {reports[0][1]}" if reports else "the sum over all shards"
        raise DivergedError(f"step {self.state.step} (epoch {epoch + 1}), {where} is not finite")

    def close(self) -> None:
        """End the worker threads."""
        self.workers.close()
