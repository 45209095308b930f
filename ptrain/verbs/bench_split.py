"""Where the time of a step goes: a step's own parts, timed from outside."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ptrain.engine.exchange import Exchange, Mean
from ptrain.engine.step import Loader, TrainingStep

PARTS = ("gather", "compute", "exchange", "waiting", "update")
"""Parts of a step; waiting, for slower ranks, is a part of the exchange."""


@dataclass(kw_only=True)
class Times:
    """Seconds of each step of one rank."""

    gather: list[float] = field(default_factory=list)
    """Filling the inputs; where threads do it at the same time, their mean."""
    exchange: list[float] = field(default_factory=list)
    """From the rank's own sum to the mean over all ranks, waiting for other ranks included."""
    before: list[float] = field(default_factory=list)
    """From the start of the step to that of the exchange: gathering and computing."""
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
        self._loaders = {shards: TimedLoader(loader, self._settle) for shards, loader in step._loaders.items()}
        self._exchange = TimedExchange(step._exchange, self._settle)
        step._loaders.update(self._loaders)
        step._exchange = self._exchange

    def run(self, epoch: int, index: int, valid_rows: int, stop: bool) -> bool:
        """Do a step, as ``TrainingStep.run``."""
        for loader in self._loaders.values():
            loader.seconds = 0.0
        start = time.perf_counter()
        stopping = self._step.run(epoch, index, valid_rows, stop)
        self._settle()
        end = time.perf_counter()
        gathering = sum(loader.seconds for loader in self._loaders.values())
        self.times.gather.append(gathering / self._step.workers.count)
        self.times.exchange.append(self._exchange.end - self._exchange.start)
        self.times.before.append(self._exchange.start - start)
        self.times.step.append(end - start)
        return stopping


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
        gather, exchange, before, step = map(_mean, (rank.gather, rank.exchange, rank.before, rank.step))
        waiting = exchange - _mean(shortest)
        update = step - before - exchange
        rows.append(
            dict(zip((*PARTS, "step"), (gather, before - gather, exchange, waiting, update, step), strict=True))
        )
    return rows


def slowest(rows: Sequence[dict[str, float]]) -> int:
    """Return the rank that does its own work, all but waiting, most slowly."""
    return max(range(len(rows)), key=lambda rank: rows[rank]["step"] - rows[rank]["waiting"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
