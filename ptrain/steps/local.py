"""What strategies share: programs for a rank's own shards, and the report of a step that diverged."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch

from ptrain.errors import DivergedError
from ptrain.models.base import ALIGNMENT, Loader, Memory, Operation, Parameters, Program, Training
from ptrain.steps.base import Work
from ptrain.sums.tree import LocalSum, Part, plan_local_sum

CONTROL = 4 * ALIGNMENT
"""Elements behind the gradient that travel with it: [loss sum, number of ranks asked to stop, unused …]."""


def training_program(
    work: Work,
    parameters: Parameters,
    shards: range,
    *,
    gradients: torch.Tensor | None = None,
    merges: Sequence[int] | None = None,
    memory: Memory | None = None,
    counts: bool = True,
) -> Program:
    """Make the program that trains on some of this rank's shards; without ``counts`` the epoch's sums stay."""
    local = slice(shards.start - work.shards.start, shards.stop - work.shards.start)
    losses, hits = work.state.row_losses[local], work.state.row_hits[local]
    training = Training(
        seed=work.config.train.seed,
        gradients=gradients,
        merges=merges,
        class_weights=work.class_weights,
        epoch_losses=losses if counts else torch.zeros_like(losses),
        epoch_hits=hits if counts else torch.zeros_like(hits),
    )
    return work.model.program(parameters, work.kernels, shards, work.rows, training, memory)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some neighbouring shards that one thread computes."""

    loader: Loader
    fill: Operation
    program: Program


class LocalSums:
    """A rank's shards, whose gradients come into rows of a workspace, where complete subtrees are added up.

    ``tasks``: those of each group of shards that are in memory at a time.
    """

    def __init__(
        self, work: Work, parameters: Parameters, plan: LocalSum, workspace: torch.Tensor, loader: Loader | None
    ):
        """Bind programs to the workspace; every task has a loader of its own where there is none for all."""
        self._workspace = workspace

        def task(part: Part) -> Task:
            rows = workspace[part.row : part.row + part.num_rows]
            program = training_program(work, parameters, part.shards, gradients=rows, merges=part.merges)
            own = loader or work.make_loader(part.shards)
            fill = own.bind(part.shards, program.features, program.labels, program.weights)
            return Task(loader=own, fill=fill, program=program)

        self.groups = [([task(part) for part in group.parts], group.operations) for group in plan.groups]

    def add_up(self, operations: Sequence[tuple[str, int, int]], columns: slice) -> None:
        """Do what follows on a group of tasks, on some of the workspace's columns."""
        rows = self._workspace[:, columns]
        for operation, row, other in operations:
            if operation == "add":
                rows[row].add_(rows[other])
            else:
                rows[row].copy_(rows[other])


def plan_shards(work: Work, *, alone: bool = False) -> LocalSum:
    """Share the rank's shards out over its threads, and over groups where their gradients do not fit in memory.

    ``alone``: each shard is a part of its own.
    """
    shards, threads = work.shards, work.workers[work.comm.info.rank]
    if work.kernels == "native":
        return plan_local_sum(work.num_shards, [_split(shards, threads)], merged=True)
    fits = len(shards) * work.model.layout.length * 4 <= work.workspace_limit
    size = len(shards) if fits else threads
    groups = [shards[first : first + size] for first in range(0, len(shards), size)]
    # A batched product on a GPU may choose its kernel by the number of matrices, so each shard is on its own.
    alone = alone or work.device.type != "cpu"
    return plan_local_sum(work.num_shards, [_split(group, len(group) if alone else threads) for group in groups])


def _split(shards: range, count: int) -> list[range]:
    """Cut shards into at most ``count`` neighbouring parts, none of them empty."""
    edges = [len(shards) * index // count for index in range(count + 1)]
    return [shards[start:stop] for start, stop in itertools.pairwise(edges) if stop > start]


def raise_diverged(work: Work, epoch: int, index: int) -> NoReturn:
    """Compute the step's shards once more, find the first that is not finite and raise DivergedError everywhere."""
    found = None
    length = work.model.layout.length
    parameters = work.parameters()
    gradient = torch.zeros(1, length + CONTROL, device=work.device)
    for shard in work.shards:
        own = range(shard, shard + 1)
        merges = (0,) if work.kernels == "native" else None
        program = training_program(work, parameters, own, gradients=gradient, merges=merges, counts=False)
        loader = work.make_loader(own)
        fill = loader.bind(own, program.features, program.labels, program.weights)
        loader.select(epoch, index)
        fill()
        program.begin(work.state.step)
        program.run()
        if not bool(gradient.isfinite().all()):
            found = (shard, "gradient" if bool(gradient[0, length].isfinite()) else "loss")
            break
    reports = [report for report in work.comm.all_gather_object(found) if report is not None]
    where = f"shard {reports[0][0]}: its {reports[0][1]}" if reports else "the sum over all shards"
    raise DivergedError(f"step {work.state.step} (epoch {epoch + 1}), {where} is not finite")
