"""One training step: local shards, ordered sum over all ranks, update. The same bits on any number of ranks."""

from collections.abc import Callable, Sequence

import torch

from ptrain.comm.base import Communicator
from ptrain.config import Config
from ptrain.engine.block import Block, DropoutKey, Loader, Training, parameters_for
from ptrain.engine.exchange import CONTROL, Plan, make_exchange
from ptrain.engine.kernels import resolve
from ptrain.engine.mlp import ALIGNMENT, Layout
from ptrain.engine.optimizers import Update, learning_rate
from ptrain.engine.slices import BoundLoader, make_slices
from ptrain.engine.state import State
from ptrain.engine.tree import LocalSum, Part, plan_local_sum, plan_merged_sum
from ptrain.engine.workers import Workers
from ptrain.errors import DivergedError

WORKSPACE_LIMIT = 2**30
"""Bytes of shard gradients held at once; above it shards are computed in turn."""


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
        make_loader: Callable[[range], BoundLoader],
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
        length = layout.length
        self.kernels = resolve(config.train.kernels, config.train.precision, device)
        decay = config.optimizer.weight_decay
        self._decay = layout.weight_mask(device).mul_(decay) if decay else None
        self._rows, self._device, self._make_loader = rows, device, make_loader
        self.slices, self.why_messages = None, ""
        ordered = config.train.reduction == "ordered"
        if self.kernels == "native" and config.run.exchange == "auto" and ordered:
            self.slices, self.why_messages = make_slices(
                config, layout, state, comm, self.workers, owners, rows, self._decay, class_weights, make_loader
            )
        self._parameters = parameters_for(state.parameters, config.train.precision)
        if self.slices is not None:
            self.exchange = self.slices.name
            return
        self._plan = self._planned(device, length)
        local = Plan(owners=owners, length=length, num_rows=self._plan.num_rows, nodes=self._plan.nodes)
        self._exchange, self.why_messages = make_exchange(
            config.run.exchange, local, comm, self.workers, device, config.train.reduction
        )
        self.exchange = self._exchange.name
        """How gradients travel: messages, or shared memory."""
        self._workspace = self._exchange.workspace
        self._columns = [slice(p.start, p.stop) for p in self._slices(length + CONTROL)]
        self._blocks = {part.shards: self._block(part) for group in self._plan.groups for part in group.parts}
        self._loaders: dict[range, Loader] = {shards: make_loader(shards) for shards in self._blocks}
        self._update = Update(
            config.optimizer,
            state.parameters,
            state.optimizer,
            self._decay,
            [slice(p.start, p.stop) for p in self._slices(layout.length)],
        )

    def _planned(self, device: torch.device, length: int) -> LocalSum:
        """Return who computes which shards and what is added to what."""
        if self.kernels == "native":
            parts = [self.workers.part(self.shards, index) for index in range(self.workers.count)]
            return plan_merged_sum([part for part in parts if len(part)], self.config.train.shards)
        group_size = len(self.shards)
        if device.type != "cpu":
            # A batched product on a GPU may choose its kernel by the number of matrices, so shards run one by one.
            group_size = 1
        elif group_size * length * 4 > WORKSPACE_LIMIT:
            group_size = self.workers.count
        return plan_local_sum(self.shards, self.config.train.shards, group_size, self._split)

    def _split(self, shards: range) -> list[range]:
        parts = [self.workers.part(shards, index) for index in range(self.workers.count)]
        return [part for part in parts if len(part)]

    def _block(self, part: Part, check: torch.Tensor | None = None) -> Block:
        """Return the block of a part; with ``check`` it leaves its gradient there and counts nothing."""
        local = slice(part.shards.start - self.shards.start, part.shards.stop - self.shards.start)
        losses, hits = self.state.row_losses[local], self.state.row_hits[local]
        training = Training(
            gradients=self._workspace[part.row : part.row + part.num_rows] if check is None else check,
            merges=part.merges,
            class_weights=self.class_weights,
            epoch_losses=losses if check is None else torch.zeros_like(losses),
            epoch_hits=hits if check is None else torch.zeros_like(hits),
        )
        return Block(
            layout=self.layout,
            model=self.config.model,
            precision=self.config.train.precision,
            kernels=self.kernels,
            parameters=self._parameters,
            shards=len(part.shards),
            rows=self._rows,
            device=self._device,
            training=training,
        )

    def _slices(self, length: int) -> list[range]:
        return [self.workers.part(range(length), index, ALIGNMENT) for index in range(self.workers.count)]

    def run(self, epoch: int, step: int, valid_rows: int, stop: bool = False) -> bool:
        """Do step ``step`` of ``epoch`` (both from 0), whose global batch has ``valid_rows`` rows.

        Returns whether any rank passed ``stop``: the same answer on every rank, without a further exchange.

        Raises:
            DivergedError: the loss or the gradient is not finite; the parameters are as before the step.
        """
        state = self.state
        self.beat(f"computing step {state.step}", False)
        rate = learning_rate(self.config.optimizer, state.step, self.steps_per_epoch, self.config.train.epochs)
        if self.slices is not None:
            stops, finite = self.slices(epoch, step, valid_rows, stop, rate, self.beat)
            if not finite:
                self._diverged(epoch, step)
            state.step += 1
            return stops
        self._local(epoch, step)
        self._workspace[self._plan.nodes[0][1], self.layout.length + 1] = float(stop)
        self.beat(f"exchanging the gradient of step {state.step}", True)
        mean = self._exchange(valid_rows)
        if not mean.finite:
            self._diverged(epoch, step)
        factor = 1.0
        clip = self.config.optimizer.clip_norm
        if clip is not None:
            norm = torch.linalg.vector_norm(mean.gradient).item()
            factor = clip / norm if norm > clip else 1.0
        self.workers.run(lambda index: self._update(index, mean.gradient, factor, rate, state.step))
        self._parameters.refresh()
        state.step += 1
        return mean.stops > 0

    def _local(self, epoch: int, step: int) -> None:
        """Compute all local shards into the workspace and add up complete subtrees."""
        for group in self._plan.groups:

            def compute(index: int, parts: list[Part] = group.parts) -> None:
                if index < len(parts):
                    self._compute(epoch, step, parts[index].shards)

            def add_up(index: int, operations: list[tuple[str, int, int]] = group.operations) -> None:
                columns = self._workspace[:, self._columns[index]]
                for operation, row, other in operations:
                    if operation == "add":
                        columns[row].add_(columns[other])
                    else:
                        columns[row].copy_(columns[other])

            self.workers.run(compute)
            if group.operations:
                self.workers.run(add_up)

    def _compute(self, epoch: int, step: int, shards: range) -> None:
        """Compute the gradients of a part and count its losses and hits."""
        block = self._blocks[shards]
        self._loaders[shards].fill(epoch, step, block.features, block.labels, block.weights)
        block.train(DropoutKey(seed=self.config.train.seed, step=self.state.step, shards=shards))

    def _diverged(self, epoch: int, step: int) -> None:
        """Compute the step's shards once more, find the first that is not finite and raise DivergedError everywhere."""
        found = None
        gradient = torch.zeros(1, self.layout.length + CONTROL, device=self._device)
        for shard in self.shards:
            own = range(shard, shard + 1)
            merges = (0,) if self.kernels == "native" else None
            block = self._block(Part(shards=own, row=0, merges=merges), gradient)
            self._make_loader(own).fill(epoch, step, block.features, block.labels, block.weights)
            block.train(DropoutKey(seed=self.config.train.seed, step=self.state.step, shards=own))
            if not bool(gradient.isfinite().all()):
                found = (shard, "gradient" if bool(gradient[0, self.layout.length].isfinite()) else "loss")
                break
        reports = [report for report in self.comm.all_gather_object(found) if report is not None]
        where = f"shard {reports[0][0]}: its {reports[0][1]}" if reports else "the sum over all shards"
        raise DivergedError(f"step {self.state.step} (epoch {epoch + 1}), {where} is not finite")

    def close(self) -> None:
        """End the worker threads."""
        if self.slices is not None:
            self.slices.close()
        self.workers.close()
