"""Where the time of a step goes: a step's own parts, timed from outside."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ptrain.models.block import Loader
from ptrain.steps.exchange import Exchange, Mean
from ptrain.steps.slices import Slices
from ptrain.steps.step import TrainingStep

PARTS = ("gather", "compute", "exchange", "waiting", "update")
"""Parts of a step; waiting, for slower ranks, is a part of the exchange."""


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


class TimedLoader:
    """A loader that adds up the seconds it is at work."""

    def __init__(self, loader: Loader, settle: Callable[[], None]):
        self.seconds = 0.0
        self._loader, self._settle = loader, settle

    def fill(self, epoch: int, step: int, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Fill as the loader does."""
        start = time.perf_counter()
        self._loader.fill(epoch, step, features, labels, weights)
        self._settle()
        self.seconds += time.perf_counter() - start

    def send(self, epoch: int, step: int) -> None:
        """Send as the loader does. What the device does with it is a part of its recorded work, and counts there."""
        start = time.perf_counter()
        self._loader.send(epoch, step)
        self._settle()
        self.seconds += time.perf_counter() - start

    def collect(self) -> None:
        """Collect as the loader does."""
        self._loader.collect()

    def take(self, shards: range, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Take as the loader does."""
        self._loader.take(shards, features, labels, weights)


class TimedExchange:
    """An exchange that keeps when it was called and when it was done."""

    def __init__(self, exchange: Exchange, settle: Callable[[], None]):
        self.name, self.workspace = exchange.name, exchange.workspace
        self.start = self.end = 0.0
        self._exchange, self._settle = exchange, settle

    def __call__(self, valid_rows: int) -> Mean:
        """Exchange as the exchange does."""
        self._settle()
        self.start = time.perf_counter()
        mean = self._exchange(valid_rows)
        self._settle()
        self.end = time.perf_counter()
        return mean


class StepTimer:
    """Runs the steps of a TrainingStep, which it changes for good, and keeps the seconds of their parts."""

    def __init__(self, step: TrainingStep, device: torch.device):
        self.times = Times()
        self._step = step
        self._settle = settler(device)
        self._parts = _parts_of_slices(step.slices) if step.slices is not None else _parts_of(step, self._settle)

    def run(self, epoch: int, index: int, valid_rows: int, stop: bool) -> bool:
        """Do a step, as ``TrainingStep.run``."""
        start = time.perf_counter()
        stopping = self._step.run(epoch, index, valid_rows, stop)
        self._settle()
        gather, compute, exchange = self._parts(start)
        self.times.gather.append(gather)
        self.times.compute.append(compute)
        self.times.exchange.append(exchange)
        self.times.step.append(time.perf_counter() - start)
        return stopping


def _parts_of_slices(slices: Slices) -> Callable[[float], tuple[float, float, float]]:
    """Return what says how long gathering, computing and exchanging took in the step that just ended."""
    clock: dict[str, float] = {}
    slices.measure(clock)

    def parts(start: float) -> tuple[float, float, float]:
        times = clock["gather"], clock["compute"], clock["exchange"]
        clock.clear()
        return times

    return parts


def _parts_of(step: TrainingStep, settle: Callable[[], None]) -> Callable[[float], tuple[float, float, float]]:
    """Return the same for a step that exchanges gradients."""
    loaders = {shards: TimedLoader(loader, settle) for shards, loader in step._loaders.items()}
    exchange = TimedExchange(step._exchange, settle)
    step._loaders.update(loaders)
    step._exchange = exchange

    def parts(start: float) -> tuple[float, float, float]:
        gather = sum(loader.seconds for loader in loaders.values()) / step.workers.count
        for loader in loaders.values():
            loader.seconds = 0.0
        return gather, exchange.start - start - gather, exchange.end - exchange.start

    return parts


def settler(device: torch.device) -> Callable[[], None]:
    """Return what waits until the device has done all that was asked of it."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def split(times: Sequence[Times]) -> list[dict[str, float]]:
    """Return the mean seconds of each part of a step and of the step, a rank each, from the times of all ranks.

    A rank waits for as long as its exchange takes longer than that of the rank that came last to the same exchange.
    """
    shortest = [min(values) for values in zip(*(rank.exchange for rank in times), strict=True)]
    rows = []
    for rank in times:
        gather, compute, exchange, step = map(_mean, (rank.gather, rank.compute, rank.exchange, rank.step))
        waiting = exchange - _mean(shortest)
        update = step - gather - compute - exchange
        rows.append(dict(zip((*PARTS, "step"), (gather, compute, exchange, waiting, update, step), strict=True)))
    return rows


def slowest(rows: Sequence[dict[str, float]]) -> int:
    """Return the rank that does its own work, all but waiting, most slowly."""
    return max(range(len(rows)), key=lambda rank: rows[rank]["step"] - rows[rank]["waiting"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
