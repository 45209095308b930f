"""The table of strategies, and the choice among them, with the reasons."""

from collections.abc import Callable
from dataclasses import dataclass

from ptrain.errors import ConfigError
from ptrain.steps.base import Step, UnavailableError, Work
from ptrain.steps.device import DeviceStep
from ptrain.steps.messages import MessagesStep
from ptrain.steps.shared import SharedStep, why_not_shared
from ptrain.steps.slices import SlicesStep


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to do training steps. What the functions say is the same on every rank, and empty where all is well."""

    summary: str
    make: Callable[[Work], Step]
    """Every rank calls it; may raise UnavailableError."""
    why_not: Callable[[Work], str] = lambda work: ""
    """Why it cannot be had here."""
    why_slower: Callable[[Work], str] = lambda work: ""
    """Why another one, of those behind it, is expected to be faster."""


def _no_slices(work: Work) -> str:
    config, info = work.config, work.comm.info
    reasons = {
        f"the kernels are {work.kernels}'s, expected --kernels native": work.kernels != "native",
        f"reduction is {config.train.reduction}, expected ordered": config.train.reduction != "ordered",
        "the ranks are on several machines": info.local_size < info.size,
        "the network's gradients are only known by shard": not all(slot.grad for slot in work.model.layout.slots),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _slices_are_slower(work: Work) -> str:
    """Every thread reads the derivatives of all rows, which with many rows and threads costs more than a gradient does.

    The factor: on 2 threads both were as fast for 784-128-128-10 and 4,096 rows.
    """
    model, rows, threads = work.model, work.num_shards * work.rows, sum(work.workers)
    derivatives = sum(model.buffers[name] for name in {slot.grad for slot in model.layout.slots})
    pays = rows * derivatives * (threads - 1) <= 8 * model.layout.length
    return "" if pays else f"a batch of {rows:,} rows is large for this network and {threads} threads"


def _not_shared(work: Work) -> str:
    if work.comm.info.size == 1:
        return "there is one rank"
    if work.config.train.reduction != "ordered":
        return f"reduction is {work.config.train.reduction}, expected ordered"
    return why_not_shared(work.comm.info, work.device)


def _no_device(work: Work) -> str:
    return "" if work.kernels == "torch" else "the kernels are native's, expected --kernels torch"


STRATEGIES = {
    "slices": Strategy(
        summary="every thread updates its slice of the parameters, in memory that all ranks share",
        make=SlicesStep,
        why_not=_no_slices,
        why_slower=_slices_are_slower,
    ),
    "device": Strategy(
        summary="the device works on its own, and the host waits for it now and then",
        make=DeviceStep,
        why_not=_no_device,
        why_slower=lambda work: "" if work.device.type != "cpu" else f"the device is the {work.device.type}",
    ),
    "shared": Strategy(
        summary="every rank adds up a slice of all sums of gradients, in memory that they share",
        make=SharedStep,
        why_not=_not_shared,
    ),
    "messages": Strategy(
        summary="sums of gradients are exchanged through the backend",
        make=MessagesStep,
    ),
}
"""Every strategy by its name, in order of preference; the last is always to be had."""


@dataclass(frozen=True, kw_only=True)
class ChosenStep:
    """The step that was chosen."""

    step: Step
    why_not: dict[str, str]
    """Why each strategy that would have been preferred was not taken."""

    def __str__(self) -> str:
        others = "".join(f"; no {name}: {reason}" for name, reason in self.why_not.items())
        return f"{self.step.name}: {STRATEGIES[self.step.name].summary}{others}"


def choose(work: Work) -> ChosenStep:
    """Make the step that --step names, or with auto the first that can be had and pays. Every rank calls it.

    Raises ConfigError where the one that --step names cannot be had.
    """
    wanted = work.config.run.step
    why_not: dict[str, str] = {}
    for name in STRATEGIES if wanted == "auto" else [wanted]:
        strategy = STRATEGIES[name]
        reason = strategy.why_not(work) or (strategy.why_slower(work) if wanted == "auto" else "")
        if not reason:
            try:
                return ChosenStep(step=strategy.make(work), why_not=why_not)
            except UnavailableError as error:
                reason = str(error)
        why_not[name] = reason
    raise ConfigError(f"--step {wanted}: {why_not[wanted]}; use --step auto, which says what it takes", agreed=True)
