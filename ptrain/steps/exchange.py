"""From the sums of each rank's shards to the mean gradient that all ranks see, through the communicator."""

from collections.abc import Sequence
from typing import Protocol

import torch

from ptrain.comm.base import Communicator
from ptrain.steps.local import CONTROL
from ptrain.sums.ordered import OrderedSum
from ptrain.sums.tree import LocalSum


class MeanGradient(Protocol):
    """What brings the sums of ranks together."""

    workspace: torch.Tensor
    gradient: torch.Tensor

    def __call__(self, valid_rows: int, stop: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``Exchange``."""


class Exchange:
    """The ordered sum over ranks or, with reduction allreduce, the backend's own, divided by the rows of the batch.

    Nothing is read on the host. ``length``: elements of a gradient.
    """

    def __init__(
        self,
        comm: Communicator,
        owners: Sequence[range],
        local: LocalSum,
        length: int,
        device: torch.device,
        reduction: str,
    ):
        self._comm, self._length = comm, length
        ordered = reduction == "ordered"
        self._ordered = OrderedSum(comm, owners, length + CONTROL, device=device) if ordered else None
        padded = self._ordered.padded_length if self._ordered else length + CONTROL
        self.workspace = torch.zeros(local.num_rows, padded, device=device)
        """(rows, at least length + CONTROL): where a rank puts the sums of its subtrees."""
        self._partials = [(start, size, self.workspace[row]) for (start, size), row in local.nodes]
        # Not a scalar: to set one on a GPU the host waits.
        self._stop = self._partials[0][2][length + 1 : length + 2]
        # Of the losses as well, behind the gradient.
        self._mean = torch.zeros(length + 1, device=device)
        self._zeros = torch.zeros_like(self._mean)
        self.gradient = self._mean[:length]
        """(length,): after a call, the mean over the rows of the global batch."""

    def __call__(self, valid_rows: int, stop: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill ``gradient`` from the workspaces of all ranks. Every rank calls it.

        The result, on the device: a scalar that is 0, or not a number where loss or gradient are not finite; and
        (1,), how many ranks passed ``stop``.
        """
        self._stop.fill_(float(stop))
        total, stops = self._total(), self._length + 1
        torch.div(total[:stops], float(valid_rows), out=self._mean)
        # Many times as fast as to ask each element.
        return torch.dot(self._mean, self._zeros), total[stops : stops + 1]

    def _total(self) -> torch.Tensor:
        if self._ordered is not None:
            return self._ordered(self._partials)
        first = self._partials[0][2]
        for _, _, other in self._partials[1:]:
            first.add_(other)
        return self._comm.all_reduce_(first)
