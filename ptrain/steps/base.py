"""The contract of a step: what it is given, what it can be asked to do, and what it keeps of its time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ptrain.comm.base import Communicator
from ptrain.config import Config
from ptrain.models.base import Kernels, Loader, Model, Parameters
from ptrain.native.threads import Workers
from ptrain.optimizers.base import Vectors
from ptrain.optimizers.schedules import learning_rate
from ptrain.steps.state import State

Heartbeat = Callable[[str, bool], None]
"""(what the rank does from now on, whether it cannot go on without other ranks)."""

Exchanged = Literal["shared memory", "messages"]


class UnavailableError(Exception):
    """A strategy found out, on all ranks alike, that it cannot be had; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that a step needs."""

    config: Config
    model: Model
    kernels: Kernels
    state: State
    """Parameters, optimizer vectors and counters; changed by every step."""
    comm: Communicator
    owners: Sequence[range]
    """The gradient shards of every rank, in rank order."""
    rows: int
    """Rows of a shard."""
    steps_per_epoch: int
    make_loader: Callable[[range], Loader]
    """Makes the loader of a contiguous range of shards."""
    class_weights: torch.Tensor | None
    """(classes,) float32 weights in the loss."""
    threads: Sequence[int]
    """Threads that every rank may use, in rank order."""
    device: torch.device
    workspace_limit: int = 2**30
    """Bytes of shard gradients held at once; above it shards are computed in turn."""

    @property
    def shards(self) -> range:
        """The shards of this rank."""
        return self.owners[self.comm.info.rank]

    @property
    def num_shards(self) -> int:
        """Shards of all ranks."""
        return self.owners[-1].stop

    @property
    def workers(self) -> list[int]:
        """Threads that compute, of every rank: each has a shard at least, and a GPU is fed by one."""
        if self.device.type != "cpu":
            return [1] * len(self.owners)
        return [max(1, min(count, len(own))) for count, own in zip(self.threads, self.owners, strict=True)]

    def parameters(self) -> Parameters:
        """The state's parameters as programs read them."""
        return Parameters(self.state.parameters, self.config.train.precision)

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        epochs = self.config.train.epochs
        return learning_rate(self.config.optimizer, self.state.step, self.steps_per_epoch, epochs)

    def vectors(self, gradient: torch.Tensor) -> Vectors:
        """What an update with this mean gradient reads and changes."""
        decay = self.model.layout.decay(self.config.optimizer.weight_decay, self.device)
        state = self.state
        return Vectors(parameters=state.parameters, state=state.optimizer, decay=decay, gradient=gradient)


@dataclass(kw_only=True)
class Times:
    """Seconds of each step of one rank."""

    gather: list[float] = field(default_factory=list)
    """Filling the inputs; where threads do it at the same time, their mean."""
    compute: list[float] = field(default_factory=list)
    """Forward, backward, and the rank's own sums."""
    exchange: list[float] = field(default_factory=list)
    """What is done only because there are other ranks or threads, waiting for them included."""
    step: list[float] = field(default_factory=list)
    """The whole step."""

    def add(self, *seconds: float) -> None:
        """Keep those of one more step, in the order of the fields."""
        for part, value in zip(vars(self).values(), seconds, strict=True):
            part.append(value)


class Step(ABC):
    """One way to do training steps; everything that it needs is allocated once. Every rank calls the same methods."""

    name: str
    """As in the table of strategies."""
    exchange: Exchanged
    """How what ranks computed reaches the others."""

    def __init__(self, work: Work, threads: int):
        self._work = work
        self._workers = Workers(threads)
        self._times: Times | None = None
        self.heartbeat: Heartbeat = lambda doing, waits: None
        """Told what the step does next; replaced by whoever wants to know."""

    @abstractmethod
    def run(self, epoch: int, index: int, valid_rows: int, stop: bool = False) -> bool:
        """Do step ``index`` of ``epoch`` (both from 0), whose global batch has ``valid_rows`` rows.

        The result, the same on every rank: whether any rank passed ``stop``. Where the host does not wait for every
        step, it is False until the next ``synchronise``, and then the answer for all steps since the last.

        Raises DivergedError where loss or gradient are not finite; the state is then as before the step that was so.
        """

    def synchronise(self) -> bool:
        """Wait for the steps that the host has not waited for yet; whether any rank passed ``stop`` in them.

        Every rank calls it after the same step. Where the host waits for every step there are none left. Raises
        DivergedError, as ``run``, for one of them.
        """
        return False

    def measure(self) -> Times:
        """Keep the seconds of a step's parts from now on, in what is returned. This may make the steps slower."""
        self._times = Times()
        return self._times

    def close(self) -> None:
        """End the threads."""
        self._workers.close()
