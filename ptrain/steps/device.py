"""A step that the device does on its own: the host only says what is to be done, and asks how it went now and then."""

import time
from collections.abc import Callable
from functools import partial

import torch

from ptrain.models.base import Operation
from ptrain.optimizers.update import TorchUpdate, clip_factor
from ptrain.steps.base import Step, Times, Work
from ptrain.steps.exchange import Exchange
from ptrain.steps.graph import recorded
from ptrain.steps.local import LocalSums, Task, plan_shards, raise_diverged

EVERY = 32
"""Steps between two synchronisations: a request to stop or a divergence is seen at most so much later."""


class Guard:
    """Counts good steps and requests to stop since the last synchronisation, on the device of the gradient.

    From the first step on whose loss or gradient is not finite, ``ok`` is false: updates are then to change nothing.
    """

    def __init__(self, device: torch.device):
        self.ok = torch.ones((), dtype=torch.bool, device=device)
        # Good steps, and ranks that asked to stop, counted again in each step.
        self._counts = torch.zeros(2, dtype=torch.float64, device=device)
        self._good, self._stops = self._counts
        self._zero = torch.zeros((), device=device)

    def judge(self, zero: torch.Tensor, stops: torch.Tensor) -> None:
        """Take note of a step. zero: not a number where the step is bad, else 0; stops: how many ranks ask to stop."""
        # What is not a number stays so, whatever is added.
        self._zero.add_(zero)
        torch.eq(self._zero, 0.0, out=self.ok)
        self._good.add_(self.ok)
        self._stops.add_(stops.view(()))

    def read(self) -> tuple[int, bool]:
        """Wait for the device; the good steps since the last time, all before the first bad one, and any request."""
        good, stops = self._counts.tolist()
        self._counts.zero_()
        return int(good), stops > 0


class DeviceStep(Step):
    """Torch's kernels, recorded as a graph on a GPU; on the CPU the same operations one by one, to test it there."""

    name = "device"
    exchange = "messages"

    def __init__(self, work: Work):
        # For torch's number of threads alone: the order of operations is that of one.
        super().__init__(work, 1)
        self._every = work.config.run.synchronise_every or EVERY
        self._parameters = work.parameters()
        plan, length = plan_shards(work, alone=True), work.model.layout.length
        self._exchange = Exchange(work.comm, work.owners, plan, length, work.device, work.config.train.reduction)
        self._loader = work.make_loader(work.shards)
        self._local = LocalSums(work, self._parameters, plan, self._exchange.workspace, self._loader)
        self._programs = [task.program for tasks, _ in self._local.groups for task in tasks]
        stages: list[list[Operation]] = []
        for tasks, operations in self._local.groups:
            stages.append([partial(_compute, task) for task in tasks])
            stages.append([partial(self._local.add_up, operations, slice(None))])
        self._compute = recorded(stages, work.device)
        vectors = work.vectors(self._exchange.gradient)
        self._update = TorchUpdate(work.config.optimizer, vectors, [slice(0, length)])
        self._guard = Guard(work.device)
        # With what each was before the update.
        self._kept = [(vector, torch.empty_like(vector)) for vector in (vectors.parameters, *vectors.state.values())]
        self._pending: list[tuple[int, int]] = []
        """Epoch and index of every step since the last synchronisation."""
        self._settle: Callable[[], object] = lambda: None

    def run(self, epoch: int, index: int, valid_rows: int, stop: bool = False) -> bool:
        """Do a step without waiting for it, but for every so many of them."""
        state = self._work.state
        start = time.perf_counter()
        # Where the device is behind, the host waits for it, and so for the other ranks that it waits for.
        self.heartbeat(f"computing step {state.step}", True)
        self._loader.select(epoch, index)
        self._settle()
        gathered = time.perf_counter()
        for program in self._programs:
            program.begin(state.step)
            for operation in program.draws:
                operation()
        self._compute()
        self.heartbeat(f"exchanging the gradient of step {state.step}", True)
        self._settle()
        computed = time.perf_counter()
        self._guard.judge(*self._exchange(valid_rows, stop))
        self._settle()
        exchanged = time.perf_counter()
        self._guarded_update()
        state.step += 1
        self._pending.append((epoch, index))
        stopping = len(self._pending) == self._every and self.synchronise()
        if self._times is not None:
            self._settle()
            self._times.add(gathered - start, computed - gathered, exchanged - computed, time.perf_counter() - start)
        return stopping

    def _guarded_update(self) -> None:
        """Update parameters and optimizer vectors, and put back what they were where the step was bad."""
        for vector, kept in self._kept:
            kept.copy_(vector)
        factor = clip_factor(self._exchange.gradient, self._work.config.optimizer.clip_norm)
        self._update.select(factor, self._work.learning_rate(), self._work.state.step)
        self._update.operations[0]()
        for vector, kept in self._kept:
            torch.where(self._guard.ok, vector, kept, out=vector)
        self._parameters.refresh()

    def synchronise(self) -> bool:
        """Wait for the device; whether any rank asked to stop since the last time."""
        if not self._pending:
            return False
        good, stopping = self._guard.read()
        pending, self._pending = self._pending, []
        if good < len(pending):
            self._work.state.step -= len(pending) - good
            raise_diverged(self._work, *pending[good])
        return stopping

    def measure(self) -> Times:
        """Keep the seconds of a step's parts from now on, and wait for the device after each of them."""
        if self._work.device.type == "cuda":
            self._settle = torch.cuda.synchronize
        return super().measure()


def _compute(task: Task) -> None:
    """Do the device's part of a task, the same for any step."""
    task.fill()
    for operation in task.program.computes:
        operation()
