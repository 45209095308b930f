"""From the sums of each rank's shards to the mean gradient that all ranks see: by messages, or in shared memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ptrain import native
from ptrain.comm.base import Communicator
from ptrain.comm.ordered import Node, OrderedSum, plan_additions
from ptrain.comm.window import open_window
from ptrain.engine.mlp import ALIGNMENT

CONTROL = 4 * ALIGNMENT
"""Elements behind the gradient that travel with it: [loss sum, number of ranks asked to stop, unused …]."""
LINE = 64
"""Bytes of a cache line."""
PAGE = 4096
SPINS = 20_000
"""Looks at a barrier, some hundred microseconds of them, before a rank sleeps; few where ranks share a core."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """What a step hands to the update, the same on every rank."""

    gradient: torch.Tensor
    """(length,): the mean over the rows of the global batch. Valid until the next exchange; not to be written to."""
    loss: float
    """Sum of the row losses."""
    stops: float
    """Number of ranks that asked to stop."""
    finite: bool
    """Whether loss and gradient are finite."""


class Exchange(Protocol):
    """Sums over ranks. ``workspace``: (rows, at least length + CONTROL), where a rank puts the sums of its subtrees."""

    name: str
    workspace: torch.Tensor

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums, which the workspace holds. Every rank calls it."""


class Messages:
    """Through the communicator: the ordered sum, or with ``allreduce`` the backend's own."""

    def __init__(
        self,
        comm: Communicator,
        owners: Sequence[range],
        length: int,
        num_rows: int,
        nodes: Sequence[tuple[Node, int]],
        device: torch.device,
        reduction: str,
    ):
        self.name = "messages"
        self._comm = comm
        self._length = length
        self._ordered = OrderedSum(comm, owners, length + CONTROL, device=device) if reduction == "ordered" else None
        padded = self._ordered.padded_length if self._ordered else length + CONTROL
        self.workspace = torch.zeros(num_rows, padded, device=device)
        self._partials = [(start, size, self.workspace[row]) for (start, size), row in nodes]
        self._compiled = device.type == "cpu" and native.instruction_set() is not None
        self._mean = torch.zeros(length, device=device)
        self._divide: native.Call | None = None
        self._finite = np.zeros(1, dtype=np.int32)

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums."""
        total = self._total()
        loss, stops = total[self._length : self._length + 2].tolist()
        gradient = total[: self._length]
        if not self._compiled:
            torch.div(gradient, float(valid_rows), out=self._mean)
            finite = bool(self._mean.isfinite().all())
        else:
            if self._divide is None:
                # The sum is in the same buffer every time.
                self._divide = native.reduce([gradient], [], range(self._length), self._mean, self._finite)
            native.set_divisor(self._divide, valid_rows)
            self._divide()
            finite = bool(self._finite[0])
        return Mean(gradient=self._mean, loss=loss, stops=stops, finite=finite and loss - loss == 0.0)

    def _total(self) -> torch.Tensor:
        if self._ordered is not None:
            return self._ordered(self._partials)
        first = self._partials[0][2]
        for _, _, other in self._partials[1:]:
            first.add_(other)
        return self._comm.all_reduce_(first)


class Shared:
    """In memory that the ranks share: each adds up a slice of all ranks' sums, in tree order, where all can read it."""

    def __init__(
        self,
        window: torch.Tensor,
        comm: Communicator,
        length: int,
        num_rows: int,
        nodes: Sequence[Sequence[tuple[Node, int]]],
        num_shards: int,
    ):
        self.name = "shared memory"
        rank, size = comm.info.rank, comm.info.size
        self._size, self._length = size, length
        spins = SPINS if comm.info.local_size <= (os.cpu_count() or 1) else SPINS // 200
        meet = native.barrier(window[: 4 * native.BARRIER_WORDS], size, spins)
        flags = window[PAGE : PAGE + LINE * size].view(torch.int32).view(size, LINE // 4)[:, 0].numpy()
        self._flags = flags
        stride = row_stride(length)
        vectors = window[_header(size) :].view(torch.float32)
        self._mean = vectors[:length]
        spaces = vectors[stride : stride + size * num_rows * stride].view(size, num_rows, stride)
        self.workspace = spaces[rank]
        pieces = [(node, spaces[owner, row]) for owner, owned in enumerate(nodes) for node, row in owned]
        additions, rest = plan_additions([node for node, _ in pieces], num_shards)
        assert len(rest) == 1
        units = -(-length // ALIGNMENT)
        part = range(units * rank // size * ALIGNMENT, min(units * (rank + 1) // size * ALIGNMENT, length))
        sums = [vector for _, vector in pieces]
        self._slice = native.reduce(sums, additions, part, self._mean, flags[rank : rank + 1])
        control = torch.zeros(stride)
        tail = native.reduce(sums, additions, range(length, length + ALIGNMENT), control, np.zeros(1, dtype=np.int32))
        self._program = native.Program([meet, self._slice, tail, meet])
        self._values = control.numpy()[length : length + 2]

    def __call__(self, valid_rows: int) -> Mean:
        """Return the mean over all ranks' sums."""
        native.set_divisor(self._slice, valid_rows)
        self._program()
        loss, stops = self._values.tolist()
        finite = bool(self._flags.all()) and loss - loss == 0.0
        return Mean(gradient=self._mean, loss=loss, stops=stops, finite=finite)


def row_stride(length: int) -> int:
    """Return the floats from one vector in shared memory to the next, whole pages, with room for the control."""
    return -(-(length + CONTROL) * 4 // PAGE) * PAGE // 4


def _header(size: int) -> int:
    return PAGE + -(-LINE * size // PAGE) * PAGE


def shared_bytes(length: int, size: int, num_rows: int) -> int:
    """Return the bytes that ``Shared`` needs."""
    return _header(size) + 4 * row_stride(length) * (1 + size * num_rows)


def make_exchange(
    kind: str,
    comm: Communicator,
    owners: Sequence[range],
    length: int,
    num_rows: int,
    nodes: Sequence[tuple[Node, int]],
    device: torch.device,
    reduction: str,
) -> tuple[Exchange, str]:
    """Return the exchange, and why it is not shared memory where that was to be tried. Every rank calls it.

    kind: auto (shared memory where all ranks can have it), or messages. num_rows: of this rank's workspace; nodes: the
    subtrees whose sums it gives and the rows that hold them.
    """
    why = ""
    possible = comm.info.size > 1 and device.type == "cpu" and reduction == "ordered" and kind == "auto"
    if possible and native.instruction_set() is None:
        why = "the kernels are not compiled"
    elif possible:
        everybody = comm.all_gather_object((num_rows, list(nodes)))
        most = max(rows for rows, _ in everybody)
        window, why = open_window(comm, shared_bytes(length, comm.info.size, most))
        if window is not None:
            all_nodes = [[tuple(entry) for entry in owned] for _, owned in everybody]
            return Shared(window, comm, length, most, all_nodes, owners[-1].stop), ""
    return Messages(comm, owners, length, num_rows, nodes, device, reduction), why
