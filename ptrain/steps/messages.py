"""A step with messages: each rank adds up its shards' gradients, and the sums travel through the communicator."""

import time

from ptrain.models.base import ALIGNMENT
from ptrain.optimizers.update import CompiledUpdate, TorchUpdate, clip_factor
from ptrain.steps.base import Exchanged, Step, Work
from ptrain.steps.exchange import Exchange, MeanGradient
from ptrain.steps.local import CONTROL, LocalSums, Task, plan_shards, raise_diverged
from ptrain.sums.tree import LocalSum


class MessagesStep(Step):
    """The strategy that is always to be had: on any device, with any kernels, between any ranks."""

    name = "messages"
    exchange: Exchanged = "messages"

    def __init__(self, work: Work):
        super().__init__(work, work.workers[work.comm.info.rank])
        length = work.model.layout.length
        self._parameters = work.parameters()
        plan = plan_shards(work)
        self._exchange = self._open(work, plan)
        self._local = LocalSums(work, self._parameters, plan, self._exchange.workspace, None)
        self._columns = self._slices(length + CONTROL)
        update = CompiledUpdate if work.kernels == "native" else TorchUpdate
        self._update = update(work.config.optimizer, work.vectors(self._exchange.gradient), self._slices(length))
        self._gathering = [0.0] * self._workers.count

    def _open(self, work: Work, local: LocalSum) -> MeanGradient:
        length, reduction = work.model.layout.length, work.config.train.reduction
        return Exchange(work.comm, work.owners, local, length, work.device, reduction)

    def _slices(self, length: int) -> list[slice]:
        parts = (self._workers.part(range(length), index, ALIGNMENT) for index in range(self._workers.count))
        return [slice(part.start, part.stop) for part in parts]

    def run(self, epoch: int, index: int, valid_rows: int, stop: bool = False) -> bool:
        """Do a step, and wait for it."""
        state, config = self._work.state, self._work.config.optimizer
        start = time.perf_counter()
        self.heartbeat(f"computing step {state.step}", False)
        self._compute(epoch, index)
        self.heartbeat(f"exchanging the gradient of step {state.step}", True)
        computed = time.perf_counter()
        zero, stops = self._exchange(valid_rows, stop)
        stopping, finite = stops.item() > 0, zero.item() == 0.0
        exchanged = time.perf_counter()
        if not finite:
            raise_diverged(self._work, epoch, index)
        factor = clip_factor(self._exchange.gradient, config.clip_norm)
        self._update.select(factor, self._work.learning_rate(), state.step)
        self._workers.run(lambda thread: self._update.operations[thread]())
        self._parameters.refresh()
        state.step += 1
        if self._times is not None:
            gather = sum(self._gathering) / len(self._gathering)
            self._times.add(gather, computed - start - gather, exchanged - computed, time.perf_counter() - start)
        return stopping

    def _compute(self, epoch: int, index: int) -> None:
        """Compute all local shards into the workspace and add up complete subtrees."""
        self._gathering = [0.0] * self._workers.count
        for tasks, operations in self._local.groups:

            def compute(thread: int, tasks: list[Task] = tasks) -> None:
                for task in tasks[thread : thread + 1]:
                    start = time.perf_counter()
                    task.loader.select(epoch, index)
                    task.fill()
                    self._gathering[thread] += time.perf_counter() - start
                    task.program.begin(self._work.state.step)
                    task.program.run()

            self._workers.run(compute)
            if operations:
                self._workers.run(lambda thread: self._local.add_up(operations, self._columns[thread]))  # noqa: B023
