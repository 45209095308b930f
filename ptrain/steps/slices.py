"""A step on one machine: all see all activations, and each computes the gradient of a slice of the parameters, whole.

Instead of gradients over a few shards that are then exchanged, each thread of each rank computes the gradient of its
slice over all shards, in the order of the tree, and updates the slice, in memory that all ranks share. An activation
that another thread computed is read once; no gradient is ever sent. The bits are those of the exchange of gradients: a
product is a chain in the order of a shard's rows, and shards are added in the order of the same tree.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from ptrain.models.base import Loader, Operation, Program, Slot
from ptrain.native import calls
from ptrain.optimizers.update import CompiledUpdate, clip_factor
from ptrain.steps.base import Step, Times, Work
from ptrain.steps.local import raise_diverged, training_program
from ptrain.steps.memory import SharedMemory, cut
from ptrain.steps.team import Team
from ptrain.sums.tree import merges_of

Parts = Sequence[tuple[str, Sequence[Operation]]]
"""Names of the parts of a step's time, and what is done in them."""


class SlicesStep(Step):
    """Native kernels, all ranks on one machine, the ordered sum."""

    name = "slices"
    exchange = "shared memory"

    def __init__(self, work: Work):
        self._memory = memory = SharedMemory(work)
        super().__init__(work, len(memory.threads))
        self._clips = work.config.optimizer.clip_norm is not None
        slices = cut(work.model.layout, sum(work.workers))
        own = [slice(slices[thread].start, slices[thread].stop) for thread in memory.threads]
        self._update = CompiledUpdate(work.config.optimizer, work.vectors(memory.mean), own, memory.flags)
        self._means = [MeanSlice(work, memory, thread, slices[thread]) for thread in memory.threads]
        self._divisor = 0
        self._loaders: list[Loader] = []
        self._programs: list[Program] = []
        # Of each thread: what it does alone; the mean, when all are there; the update, until all are done.
        phases = [self._phases(index) for index in range(self._workers.count)]
        # Where the gradient is clipped, the first thread computes the factor in between, and the others wait for it.
        pieces = [
            [[*local, *mean], [*update]] if self._clips else [[*local, *mean, *update]]
            for local, mean, update in phases
        ]
        work_of = [[_operations(piece) for piece in thread] for thread in pieces[1:]]
        self._team = Team(self._workers, work_of, memory.given_up)
        local, mean, update = phases[0]
        # The first thread tells the watchdog that it waits between what it does alone and the rest.
        self._split: list[Parts] = [local, mean, update] if self._clips else [local, [*mean, *update]]
        self._fused: list[Parts] = [[("", calls.fuse(_operations(parts)))] for parts in self._split]
        self._clock: defaultdict[str, float] = defaultdict(float)

    def _phases(self, index: int) -> tuple[Parts, Parts, Parts]:
        """Make a thread's program and loader, and what it does in the three phases of a step."""
        work, memory = self._work, self._memory
        shards = self._workers.part(work.shards, index)
        program = training_program(work, work.parameters(), shards, memory=memory.of_shards(shards))
        loader = work.make_loader(shards)
        self._programs.append(program)
        self._loaders.append(loader)
        gather = loader.bind(shards, program.features, program.labels, program.weights)
        update = self._update.operations[index]
        barriers = ("exchange", memory.barriers)
        return (
            [("gather", [gather]), ("compute", [*program.draws, *program.computes])],
            # Nobody reads activations before all are there, ...
            [barriers, ("compute", self._means[index].operations), barriers],
            # ... changes parameters before all flags are, or computes with them before all are changed.
            [("update", [update]), barriers],
        )

    def run(self, epoch: int, index: int, valid_rows: int, stop: bool = False) -> bool:
        """Do a step, and wait for it."""
        state, memory, clip_norm = self._work.state, self._memory, self._work.config.optimizer.clip_norm
        start = time.perf_counter()
        self.heartbeat(f"computing step {state.step}", False)
        for loader, program in zip(self._loaders, self._programs, strict=True):
            loader.select(epoch, index)
            program.begin(state.step)
        if valid_rows != self._divisor:
            self._divisor = valid_rows
            for mean in self._means:
                mean.set_divisor(valid_rows)
        stops = memory.stops[state.step % 2]
        stops[self._work.comm.info.rank] = stop
        rate = self._work.learning_rate()
        self._update.select(1.0, rate, state.step)
        self._team.release()
        self._do(0)
        self.heartbeat(f"exchanging the gradient of step {state.step}", True)
        self._do(1)
        if self._clips:
            self._update.select(clip_factor(memory.mean, clip_norm), rate, state.step)
            self._team.release()
            self._do(2)
        # The flags of all slices: the same answer on all ranks.
        if not memory.flags.all():
            raise_diverged(self._work, epoch, index)
        state.step += 1
        if self._times is not None:
            spent = (self._clock[name] for name in ("gather", "compute", "exchange"))
            self._times.add(*spent, time.perf_counter() - start)
            self._clock.clear()
        return bool(stops.any())

    def _do(self, phase: int) -> None:
        """Do a phase of the first thread's work."""
        for name, operations in self._fused[phase]:
            start = time.perf_counter()
            try:
                for operation in operations:
                    operation()
            except BaseException:
                # Who waits for this thread at a barrier waits no longer.
                self._memory.given_up[0] = 1
                raise
            if self._times is not None:
                self._clock[name] += time.perf_counter() - start

    def measure(self) -> Times:
        """Keep the seconds of the parts of the first thread's work from now on."""
        self._fused = [[(name, calls.fuse(operations)) for name, operations in parts] for parts in self._split]
        return super().measure()

    def close(self) -> None:
        """End the threads."""
        self._team.close()
        super().close()


class MeanSlice:
    """``operations`` that fill a slice of the mean gradient from what all shards left in shared memory."""

    def __init__(self, work: Work, memory: SharedMemory, thread: int, part: range):
        self.operations: list[Operation] = []
        self._memory = memory
        self._merges = merges_of(range(work.num_shards), work.num_shards)
        self._flags = (memory.flags[thread, index : index + 1] for index in itertools.count())
        self._means: list[calls.Call] = []
        for slot in work.model.layout.slots:
            covered = range(max(part.start, slot.offset), min(part.stop, slot.offset + slot.count))
            if covered and slot.source:
                self._add_product(slot, covered)
            elif covered:
                self._add_sum(memory.buffers[slot.grad].view, slot.view(memory.mean))
        if thread == 0:
            # Not to be had from the gradient: a loss may be infinite where all derivatives are finite.
            self._add_sum(memory.row_losses.unsqueeze(-1), torch.zeros(1))

    def set_divisor(self, valid_rows: int) -> None:
        """Let the sums be divided by the rows of the global batch."""
        for call in self._means:
            calls.set_divisor(call, valid_rows)

    def _add_product(self, slot: Slot, covered: range) -> None:
        """Fill some rows of a weight's gradient."""
        width = slot.shape[1]
        inputs = range((covered.start - slot.offset) // width, (covered.stop - slot.offset) // width)
        source, grad = self._memory.buffers[slot.source].view, self._memory.buffers[slot.grad].view
        out = slot.view(self._memory.mean)[None, inputs.start : inputs.stop]
        call = calls.weight_gradient(source, grad, self._merges, out, inputs=inputs, finite=next(self._flags))
        self.operations.append(call)
        self._means.append(call)

    def _add_sum(self, values: torch.Tensor, out: torch.Tensor) -> None:
        """Fill a bias' gradient, or the loss: the mean over rows and shards of values (shards, rows, n)."""
        sums = torch.zeros(out.numel())
        self.operations.append(calls.column_sums(values, self._merges, sums[None]))
        call = calls.reduce([sums], [], range(len(sums)), out, next(self._flags))
        self.operations.append(call)
        self._means.append(call)


def _operations(parts: Parts) -> list[Operation]:
    """What is done in these parts."""
    return [operation for _, operations in parts for operation in operations]
