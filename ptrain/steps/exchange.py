"""From the sums of each rank's shards to the mean gradient that all ranks see: by messages, or in shared memory."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain import native
from ptrain.comm.base import Communicator
from ptrain.comm.window import open_window
from ptrain.models.mlp import ALIGNMENT
from ptrain.native.threads import Workers, spins
from ptrain.steps.guard import Guard
from ptrain.sums.ordered import Node, OrderedSum, plan_additions

CONTROL = 4 * ALIGNMENT
"""Elements behind the gradient that travel with it: [loss sum, number of ranks asked to stop, unused …]."""
LINE = 64
"""Bytes of a cache line."""
PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a rank brings to the exchange."""

    owners: Sequence[range]
    """The shards of every rank, in rank order."""
    length: int
    """Elements of a gradient."""
    num_rows: int
    """Rows of this rank's workspace."""
    nodes: Sequence[tuple[Node, int]]
    """The subtrees whose sums it holds, with their rows."""

    @property
    def num_shards(self) -> int:
        """Number of shards of all ranks."""
        return self.owners[-1].stop


@dataclass(frozen=True, kw_only=True)
class Mean:
    """What a step hands to the update, the same on every rank."""

    gradient: torch.Tensor
    """(length,): the mean over the rows of the global batch. Valid until the next exchange; not to be written to."""
    loss: float
    """Sum of the row losses; not a number where it is not known on the host."""
    stops: float
    """Number of ranks that asked to stop."""
    finite: bool
    """Whether loss and gradient are finite; true, and no stops, where a guard has to be asked."""


class Exchange(Protocol):
    """Sums over ranks. ``workspace``: (rows, at least length + CONTROL), where a rank puts the sums of its subtrees."""

    name: str
    workspace: torch.Tensor

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums, which the workspace holds. Every rank calls it."""


class Messages:
    """Through the communicator: the ordered sum, or with ``allreduce`` the backend's own.

    With a guard nothing is read on the host: the guard is told, and may be asked later.
    """

    name = "messages"

    def __init__(
        self, plan: Plan, comm: Communicator, device: torch.device, reduction: str, guard: Guard | None = None
    ):
        self._comm = comm
        self._guard = guard
        length = self._length = plan.length
        ordered = reduction == "ordered"
        self._ordered = OrderedSum(comm, plan.owners, length + CONTROL, device=device) if ordered else None
        padded = self._ordered.padded_length if self._ordered else length + CONTROL
        self.workspace = torch.zeros(plan.num_rows, padded, device=device)
        rows = [row for _, row in plan.nodes]
        additions, rest = plan_additions([node for node, _ in plan.nodes], plan.num_shards)
        self._additions = [(self.workspace[rows[left]], self.workspace[rows[right]]) for left, right in additions]
        self._partials = [(start, size, self.workspace[rows[index]]) for (start, size), index in rest]
        # And, behind the gradient, of the losses.
        self._mean = torch.zeros(length + 1, device=device)
        self._zeros = torch.zeros_like(self._mean)

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums."""
        for left, right in self._additions:
            left.add_(right)
        total = self._total()
        loss, stops = self._length, self._length + 1
        torch.div(total[:stops], float(valid_rows), out=self._mean)
        gradient = self._mean[:loss]
        # 0, or not a number where an element is not finite: many times as fast as to ask each of them.
        zero = torch.dot(self._mean, self._zeros)
        if self._guard is not None:
            self._guard.judge(zero, total[stops])
            return Mean(gradient=gradient, loss=math.nan, stops=0.0, finite=True)
        control = total[loss : stops + 1].tolist()
        return Mean(gradient=gradient, loss=control[0], stops=control[1], finite=zero.item() == 0.0)

    def _total(self) -> torch.Tensor:
        if self._ordered is not None:
            return self._ordered(self._partials)
        first = self._partials[0][2]
        for _, _, other in self._partials[1:]:
            first.add_(other)
        return self._comm.all_reduce_(first)


class Shared:
    """In memory that the ranks share: each adds up a slice of all ranks' sums, in tree order, where all can read it.

    ``everybody``: the nodes of every rank with their rows; ``num_rows``: the most rows of any rank.
    """

    name = "shared memory"

    def __init__(
        self,
        plan: Plan,
        comm: Communicator,
        workers: Workers,
        window: torch.Tensor,
        everybody: Sequence[Sequence[tuple[Node, int]]],
        num_rows: int,
    ):
        rank, size, length = comm.info.rank, comm.info.size, plan.length
        self._workers = workers
        meet = native.barrier(
            window[: 4 * native.BARRIER_WORDS], size, spins(comm.info.local_size, os.cpu_count() or 1)
        )
        places = workers.count * size
        flags = window[PAGE : PAGE + LINE * places].view(torch.int32).view(places, LINE // 4)[:, 0].numpy()
        self._flags = flags
        stride = row_stride(length)
        vectors = window[_header(places) :].view(torch.float32)
        self._mean = vectors[:length]
        spaces = vectors[stride : stride + size * num_rows * stride].view(size, num_rows, stride)
        self.workspace = spaces[rank]
        pieces = [(node, spaces[owner, row]) for owner, owned in enumerate(everybody) for node, row in owned]
        additions, rest = plan_additions([node for node, _ in pieces], plan.num_shards)
        assert len(rest) == 1
        sums = [vector for _, vector in pieces]

        def reduce(part: range, out: torch.Tensor, flag: NDArray[np.int32]) -> native.Call:
            return native.reduce(sums, additions, part, out, flag)

        units = -(-length // ALIGNMENT)
        self._slices: list[native.Call] = []
        for place in range(workers.count * rank, workers.count * (rank + 1)):
            start, stop = (units * edge // places * ALIGNMENT for edge in (place, place + 1))
            self._slices.append(reduce(range(start, min(stop, length)), self._mean, flags[place : place + 1]))
        control = torch.zeros(stride)
        self._values = control.numpy()[length : length + 2]
        tail = reduce(range(length, length + ALIGNMENT), control, np.zeros(1, dtype=np.int32))
        meets = [meet] if size > 1 else []
        # With one thread all of it is one program.
        self._before = native.Program(meets)
        self._after = native.Program([tail, *meets])
        self._whole = native.Program([*meets, *self._slices, tail, *meets])

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums."""
        for call in self._slices:
            native.set_divisor(call, valid_rows)
        if self._workers.count == 1:
            self._whole()
        else:
            self._before()
            self._workers.run(lambda index: self._slices[index]())
            self._after()
        loss, stops = self._values.tolist()
        finite = loss - loss == 0.0 and bool(self._flags.all())
        return Mean(gradient=self._mean, loss=loss, stops=stops, finite=finite)


def row_stride(length: int) -> int:
    """Return the floats from one vector in shared memory to the next, whole pages, with room for the control."""
    return -(-(length + CONTROL) * 4 // PAGE) * PAGE // 4


def _header(places: int) -> int:
    return PAGE + -(-LINE * places // PAGE) * PAGE


def shared_bytes(length: int, places: int, vectors: int) -> int:
    """Return the bytes that ``Shared`` needs for this many threads and vectors, over all ranks."""
    return _header(places) + 4 * row_stride(length) * (1 + vectors)


def make_exchange(
    kind: str,
    plan: Plan,
    comm: Communicator,
    workers: Workers,
    device: torch.device,
    reduction: str,
    guard: Guard | None = None,
) -> tuple[Exchange, str]:
    """Return the exchange, and why it is not shared memory where that was to be tried. Every rank calls it.

    kind: auto (shared memory where all ranks can have it and there is no guard), or messages.
    """
    if device.type != "cpu" or reduction != "ordered" or kind == "messages" or guard is not None:
        return Messages(plan, comm, device, reduction, guard), ""
    if native.instruction_set() is None:
        return Messages(plan, comm, device, reduction), "the kernels are not compiled"
    size = comm.info.size
    if comm.info.local_size < size:
        return Messages(plan, comm, device, reduction), "the ranks are on several machines"
    everybody = comm.all_gather_object((plan.num_rows, workers.count, plan.nodes))
    most = max(rows for rows, _, _ in everybody)
    num_bytes = shared_bytes(plan.length, workers.count * size, size * most)
    window: torch.Tensor | None = torch.zeros(num_bytes, dtype=torch.uint8)
    why = "" if len({threads for _, threads, _ in everybody}) == 1 else "the ranks have different numbers of threads"
    if size > 1 and not why:
        window, why = open_window(comm, num_bytes)
    if window is None or why:
        return Messages(plan, comm, device, reduction), why
    nodes = [[((start, width), row) for (start, width), row in owned] for _, _, owned in everybody]
    return Shared(plan, comm, workers, window, nodes, most), ""
