"""A step whose ranks, all on one machine, leave the sums of their shards in memory that each adds up a slice of.

Between two ranks a gradient of 118,282 elements takes a seventh of the time that messages over MPI take. It is for
torch's kernels; with the native ones slices are faster still.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
import torch

from ptrain.comm.base import Communicator, RankInfo
from ptrain.models.base import ALIGNMENT
from ptrain.native import calls
from ptrain.native.choice import instruction_set
from ptrain.native.threads import Workers, spins
from ptrain.steps.base import Work
from ptrain.steps.local import CONTROL
from ptrain.steps.memory import LINE, shared_words, whole_pages
from ptrain.steps.messages import MessagesStep
from ptrain.sums.ordered import plan_additions
from ptrain.sums.tree import LocalSum


def why_not_shared(info: RankInfo, device: torch.device) -> str:
    """Why these ranks cannot have a SharedExchange, the same on all of them; empty where they may."""
    reasons = {
        f"the device is the {device.type}": device.type != "cpu",
        "the ranks are on several machines": info.local_size < info.size,
        "ptrain's kernels are not compiled": instruction_set() is None,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


class SharedExchange:
    """The ordered sum over ranks, divided by the rows of the batch; see ``ptrain.steps.exchange.Exchange``.

    ``shards``: of all ranks; ``threads``: those of every rank, ``workers`` are this one's. Raises UnavailableError, on
    all ranks, where they cannot have the memory.
    """

    def __init__(
        self, comm: Communicator, local: LocalSum, length: int, shards: int, threads: Sequence[int], workers: Workers
    ):
        info, size, total = comm.info, comm.info.size, sum(threads)
        everybody = comm.all_gather_object((local.num_rows, local.nodes))
        most = max(rows for rows, _ in everybody)
        stride = whole_pages(length + CONTROL)
        sizes = {"barrier": calls.BARRIER_WORDS, "flags": LINE * total, "mean": length, "sums": size * most * stride}
        words = shared_words(comm, sizes)
        self._barrier = calls.barrier(words["barrier"], size, spins(info.local_size, os.cpu_count() or 1))
        self._flags = words["flags"].view(total, LINE)[:, 0].numpy()
        self.gradient = words["mean"].view(torch.float32)
        spaces = words["sums"].view(torch.float32).view(size, most, stride)
        self.workspace = spaces[info.rank]
        pieces = [
            (tuple(node), spaces[owner, row]) for owner, (_, nodes) in enumerate(everybody) for node, row in nodes
        ]
        additions, _ = plan_additions([(start, width) for (start, width), _ in pieces], shards)
        sums = [vector for _, vector in pieces]
        first, units = sum(threads[: info.rank]), -(-length // ALIGNMENT)
        self._workers, self._slices = workers, []
        for thread in range(first, first + workers.count):
            start, stop = (units * edge // total * ALIGNMENT for edge in (thread, thread + 1))
            part, flag = range(start, min(stop, length)), self._flags[thread : thread + 1]
            self._slices.append(calls.reduce(sums, additions, part, self.gradient, flag))
        control = torch.zeros(stride)
        self._loss, self._stops = control[length : length + 1], control[length + 1 : length + 2]
        behind = range(length, length + ALIGNMENT)
        self._control = calls.reduce(sums, additions, behind, control, np.zeros(1, dtype=np.int32))
        self._stop = self.workspace[local.nodes[0][1], length + 1 : length + 2]

    def __call__(self, valid_rows: int, stop: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill ``gradient`` from the workspaces of all ranks. Every rank calls it."""
        self._stop.fill_(float(stop))
        for call in self._slices:
            calls.set_divisor(call, valid_rows)
        self._barrier()  # all sums are there
        self._workers.run(lambda thread: self._slices[thread]())
        self._control()
        self._barrier()  # all of the mean is there, and nobody reads sums any more
        finite = bool(self._flags.all()) and bool(self._loss.isfinite())
        return torch.tensor(0.0 if finite else math.nan), self._stops


class SharedStep(MessagesStep):
    """As with messages, but for the exchange."""

    name = "shared"
    exchange = "shared memory"

    def _open(self, work: Work, local: LocalSum) -> SharedExchange:
        length = work.model.layout.length
        return SharedExchange(work.comm, local, length, work.num_shards, work.workers, self._workers)
