"""The contract of a communicator: the few collective operations that training and evaluation need."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch

Op = Literal["sum", "min", "max"]


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """Who this process is among the processes of the job."""

    rank: int
    size: int
    """World size: the number of ranks of the job."""
    local_rank: int
    local_size: int
    """Number of ranks on this host."""
    host: str
    launcher: str
    """What started the ranks: ``slurm``, ``openmpi``, ``pmi``, ``torchrun``, ``horovod`` or ``none``."""


class Communicator(ABC):
    """Collective operations over all ranks of the job. Every rank calls the same methods in the same order.

    Tensors are contiguous, of equal shape and dtype on all ranks, on the CPU or on the rank's GPU. ``out`` is filled
    and returned where it is given, so that a step loop can run without allocating.
    """

    name: str
    """Name of the backend, as on the command line."""
    info: RankInfo

    @abstractmethod
    def all_reduce_(self, tensor: torch.Tensor, op: Op = "sum") -> torch.Tensor:
        """Reduce ``tensor`` over all ranks in place with the backend's own algorithm and return it."""

    @abstractmethod
    def all_to_all(self, tensor: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Send ``tensor[r]`` to rank r; row r of the result comes from rank r. tensor, result: (size, ...)."""

    @abstractmethod
    def all_gather(self, tensor: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tensors of all ranks, stacked in rank order. tensor: shape; result: (size, *shape)."""

    @abstractmethod
    def broadcast_(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """Overwrite ``tensor`` on every rank with rank ``root``'s, and return it."""

    @abstractmethod
    def broadcast_object(self, obj: Any, root: int = 0) -> Any:
        """Return rank ``root``'s object on every rank. Objects are JSON-like or dataclasses, small."""

    @abstractmethod
    def gather_object(self, obj: Any, root: int = 0) -> list[Any] | None:
        """Return the objects of all ranks in rank order on rank ``root``, None elsewhere."""

    def all_gather_object(self, obj: Any) -> list[Any]:
        """Return the objects of all ranks in rank order on every rank."""
        return list(self.broadcast_object(self.gather_object(obj)))

    @abstractmethod
    def barrier(self) -> None:
        """Return once every rank has called it."""

    @abstractmethod
    def abort(self, exit_code: int = 1) -> None:
        """End every rank of the job now, with ``exit_code`` where the backend can pass it on. Does not return."""

    @abstractmethod
    def close(self) -> None:
        """Leave the job in good order. Every rank calls it; nothing may be called after it."""
