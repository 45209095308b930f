"""One training step: local shards, ordered sum over all ranks, update. The same bits on any number of ranks."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from ptrain.comm.base import Communicator
from ptrain.config import Config
from ptrain.errors import DivergedError
from ptrain.models.block import Block, DropoutKey, Loader, Training, parameters_for
from ptrain.models.mlp import ALIGNMENT, Layout
from ptrain.native.choice import resolve
from ptrain.native.threads import Workers
from ptrain.optimizers import Update, learning_rate
from ptrain.steps.exchange import CONTROL, Plan, make_exchange
from ptrain.steps.graph import Task, recorded
from ptrain.steps.guard import EVERY, Guard, clip_factor
from ptrain.steps.slices import BoundLoader, make_slices
from ptrain.steps.state import State
from ptrain.sums.tree import LocalSum, Part, plan_local_sum, plan_merged_sum

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
        look_every: steps after which the host learns how they went; by default 1 on the CPU and EVERY on a GPU. With
            1 on the CPU the host takes part in every step; else it only says what is to be done.
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
        look_every: int | None = None,
    ):
        self.beat = beat
        self.config = config
        self.layout = layout
        self.state = state
        self.comm = comm
        self.shards = owners[comm.info.rank]
        self.steps_per_epoch = steps_per_epoch
        self.class_weights = class_weights
        every = look_every or (1 if device.type == "cpu" else EVERY)
        self._guard = Guard(every, device) if every > 1 or device.type != "cpu" else None
        self.kernels = resolve(config.train.kernels, config.train.precision, device)
        self._records = self._guard is not None and self.kernels == "torch"
        self.workers = Workers(1 if self._records else max(1, min(threads, len(self.shards))))
        length = layout.length
        decay = config.optimizer.weight_decay
        self._decay = layout.weight_mask(device).mul_(decay) if decay else None
        self._rows, self._device, self._make_loader = rows, device, make_loader
        self.slices, self.why_messages = None, ""
        ordered = config.train.reduction == "ordered"
        if self._guard is None and self.kernels == "native" and config.run.step == "auto" and ordered:
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
            config.run.step, local, comm, self.workers, device, config.train.reduction, self._guard
        )
        self.exchange = self._exchange.name
        """How gradients travel: messages, or shared memory."""
        self._workspace = self._exchange.workspace
        # Not a scalar: to set one on a GPU the host waits.
        self._stop = self._workspace[self._plan.nodes[0][1], length + 1 : length + 2]
        self._columns = [slice(p.start, p.stop) for p in self._slices(length + CONTROL)]
        self._blocks = {part.shards: self._block(part) for group in self._plan.groups for part in group.parts}
        shared_out = [self.shards] if self._records else self._blocks
        self._loaders: dict[range, Loader] = {shards: make_loader(shards) for shards in shared_out}
        self._update = Update(
            config.optimizer,
            state.parameters,
            state.optimizer,
            self._decay,
            [slice(p.start, p.stop) for p in self._slices(layout.length)],
            compiled=self.kernels == "native",
            ok=None if self._guard is None else self._guard.ok,
        )
        self._recorded = recorded(self._stages(), device) if self._records else None

    def _planned(self, device: torch.device, length: int) -> LocalSum:
        """Return who computes which shards and what is added to what."""
        if self.kernels == "native":
            parts = [self.workers.part(self.shards, index) for index in range(self.workers.count)]
            return plan_merged_sum([part for part in parts if len(part)], self.config.train.shards)
        fits = len(self.shards) * length * 4 <= WORKSPACE_LIMIT
        group_size = len(self.shards) if fits else self.workers.count
        return plan_local_sum(self.shards, self.config.train.shards, group_size, self._split)

    def _split(self, shards: range) -> list[range]:
        if self._records:
            # A batched product on a GPU may choose its kernel by the number of matrices, so each shard is on its own.
            return [range(shard, shard + 1) for shard in shards]
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

        Returns whether any rank passed ``stop``: the same answer on every rank, without a further exchange. Where the
        host does not look at every step, this is False until it looks, and then the answer for all steps since it did.

        Raises:
            DivergedError: the loss or the gradient is not finite; the state is as before the step where that was so.
        """
        state = self.state
        # Where the device is behind, the host waits for it, and so for the other ranks that it waits for.
        self.beat(f"computing step {state.step}", self._records)
        rate = learning_rate(self.config.optimizer, state.step, self.steps_per_epoch, self.config.train.epochs)
        if self.slices is not None:
            stops, finite = self.slices(epoch, step, valid_rows, stop, rate, self.beat)
            if not finite:
                self._diverged(epoch, step)
            state.step += 1
            return stops
        self._local(epoch, step)
        self._stop.fill_(float(stop))
        self.beat(f"exchanging the gradient of step {state.step}", True)
        mean = self._exchange(valid_rows)
        if not mean.finite:
            self._diverged(epoch, step)
        clip = self.config.optimizer.clip_norm
        factor = 1.0 if clip is None else clip_factor(mean.gradient, clip)
        self.workers.run(lambda index: self._update(index, mean.gradient, factor, rate, state.step))
        self._parameters.refresh()
        state.step += 1
        if self._guard is None:
            return mean.stops > 0
        self._guard.places.append((epoch, step))
        return len(self._guard.places) == self._guard.every and self.look()

    def look(self) -> bool:
        """Wait for the steps that the host has not looked at yet; return whether any rank passed ``stop`` in them.

        Every rank calls it after the same step. Where the host looks at every step there are none left.

        Raises:
            DivergedError: one of them had a loss or a gradient that is not finite; the state is as before that step.
        """
        if self._guard is None:
            return False
        steps = len(self._guard.places)
        bad, good, stopping = self._guard.look()
        if bad is not None:
            self.state.step -= steps - good
            self._diverged(*bad)
        return stopping

    def _local(self, epoch: int, step: int) -> None:
        """Compute all local shards into the workspace and add up complete subtrees."""
        if self._recorded is not None:
            self._loaders[self.shards].send(epoch, step)
            for shards, block in self._blocks.items():
                block.set_key(DropoutKey(seed=self.config.train.seed, step=self.state.step, shards=shards))
                block.draw()
            self._recorded()
            return
        for group in self._plan.groups:

            def compute(index: int, parts: list[Part] = group.parts) -> None:
                if index < len(parts):
                    self._compute(epoch, step, parts[index].shards)

            def add_up(index: int, operations: list[tuple[str, int, int]] = group.operations) -> None:
                self._add_up(operations, self._columns[index])

            self.workers.run(compute)
            if group.operations:
                self.workers.run(add_up)

    def _stages(self) -> list[list[Task]]:
        """Return the device's part of ``_local`` for any step, of which ``recorded`` says more."""
        loader = self._loaders[self.shards]

        def task(shards: range, block: Block) -> Task:
            def compute() -> None:
                loader.take(shards, block.features, block.labels, block.weights)
                for operation in block.recordable:
                    operation()

            return compute

        stages: list[list[Task]] = [[loader.collect]]
        for group in self._plan.groups:
            stages.append([task(part.shards, self._blocks[part.shards]) for part in group.parts])
            stages.append([partial(self._add_up, group.operations, slice(None))])
        return stages

    def _add_up(self, operations: Sequence[tuple[str, int, int]], columns: slice) -> None:
        """Do a group's operations on some of the workspace's columns."""
        rows = self._workspace[:, columns]
        for operation, row, other in operations:
            if operation == "add":
                rows[row].add_(rows[other])
            else:
                rows[row].copy_(rows[other])

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
