"""The contract of a communicator: the few collective operations that training and evaluation need."""

import os
import pickle
import sys
from abc import ABC, abstractmethod
from typing import Any, Literal, NoReturn

import torch

from ptrain.errors import LaunchError
from ptrain.launch.env import RankInfo as RankInfo

Op = Literal["sum", "min", "max"]


class Communicator(ABC):
    """Collective operations over all ranks of the job. Every rank calls the same methods in the same order.

    Tensors are contiguous, of equal shape and dtype on all ranks, on the CPU or on the rank's GPU. ``out`` is filled
    and returned where it is given, so that a step loop can run without allocating; it never shares memory with
    ``tensor``. Shapes may have no dimension or no element. A backend writes the abstract methods; those that begin with
    ``_`` get tensors that have elements, as ``_near`` gives them.
    """

    name: str
    """Name of the backend, as on the command line."""
    info: RankInfo

    def all_reduce_(self, tensor: torch.Tensor, op: Op = "sum") -> torch.Tensor:
        """Reduce ``tensor`` over all ranks in place with the backend's own algorithm and return it."""
        if tensor.numel():
            near = self._near(tensor)
            self._all_reduce(near, op)
            _fill(tensor, near)
        return tensor

    def all_to_all(self, tensor: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Send ``tensor[r]`` to rank r; row r of the result comes from rank r. tensor, result: (size, ...)."""
        out = torch.empty_like(tensor) if out is None else out
        if tensor.numel():
            near = self._near(out, filled=False)
            self._all_to_all(self._near(tensor), near)
            _fill(out, near)
        return out

    def all_gather(self, tensor: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """The tensors of all ranks, stacked in rank order. tensor: shape; result: (size, *shape)."""
        out = tensor.new_empty((self.info.size, *tensor.shape)) if out is None else out
        if tensor.numel():
            near = self._near(out, filled=False)
            self._all_gather(self._near(tensor), near)
            _fill(out, near)
        return out

    def broadcast_(self, tensor: torch.Tensor, root: int = 0) -> torch.Tensor:
        """Overwrite ``tensor`` on every rank with rank ``root``'s, and return it."""
        if tensor.numel():
            near = self._near(tensor, filled=self.info.rank == root)
            self._broadcast(near, root)
            _fill(tensor, near)
        return tensor

    def _near(self, tensor: torch.Tensor, *, filled: bool = True) -> torch.Tensor:
        """The tensor where the backend can use it, with its values where ``filled``; here as it is."""
        return tensor

    @abstractmethod
    def barrier(self) -> None:
        """Return once every rank has called it."""

    @abstractmethod
    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None: ...

    @abstractmethod
    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None: ...

    @abstractmethod
    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None: ...

    @abstractmethod
    def _broadcast(self, tensor: torch.Tensor, root: int) -> None: ...

    def abort(self, exit_code: int = 1) -> NoReturn:
        """End every rank of the job now, with ``exit_code`` where the backend can pass it on. Does not return.

        Where a backend has no abort of its own, the launcher ends the others when one rank leaves this way: at once,
        without the clean-up that would wait for other ranks.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    @abstractmethod
    def close(self) -> None:
        """Leave the job in good order. Every rank calls it; nothing may be called after it."""

    def broadcast_object(self, obj: Any, root: int = 0) -> Any:
        """Rank ``root``'s object on every rank. Objects are JSON-like or dataclasses, small; of one rank they stay."""
        if self.info.size == 1:
            return obj
        is_root = self.info.rank == root
        payload = _encode(obj) if is_root else torch.empty(0, dtype=torch.uint8)
        length = int(self.broadcast_(torch.tensor(payload.numel()), root))
        received = payload if is_root else torch.empty(length, dtype=torch.uint8)
        return _decode(self.broadcast_(received, root))

    def gather_object(self, obj: Any, root: int = 0) -> list[Any] | None:
        """The objects of all ranks in rank order on rank ``root``, None elsewhere."""
        return self._gather_objects(obj, wanted=self.info.rank == root)

    def all_gather_object(self, obj: Any) -> list[Any]:
        """The objects of all ranks in rank order on every rank."""
        return self._gather_objects(obj, wanted=True) or []

    def _gather_objects(self, obj: Any, *, wanted: bool) -> list[Any] | None:
        if self.info.size == 1:
            return [obj]
        payload = _encode(obj)
        lengths = self.all_gather(torch.tensor(payload.numel())).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: payload.numel()] = payload
        gathered = self.all_gather(padded)
        return [_decode(row[:length]) for row, length in zip(gathered, lengths, strict=True)] if wanted else None


def check_world(info: RankInfo, backend: str, rank: int, size: int, fix: str) -> None:
    """Raise LaunchError where the launcher and the backend disagree: W worlds of one rank would train W models."""
    if size != info.size:
        started = f"{info.launcher} started {info.size} ranks" if info.launcher != "none" else "no launcher was found"
        found = f"{started}, but {backend} sees a world of {size}"
    elif rank != info.rank:
        found = f"{info.launcher} says rank {info.rank}, {backend} says {rank}"
    else:
        return
    raise LaunchError(f"--backend {backend}: {found}; {fix}", agreed=True)


def _fill(tensor: torch.Tensor, near: torch.Tensor) -> None:
    if tensor is not near:
        tensor.copy_(near)


def _encode(obj: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(obj)), dtype=torch.uint8)


def _decode(payload: torch.Tensor) -> Any:
    # Only ever bytes of another rank of this very job, never of a file.
    return pickle.loads(payload.numpy().tobytes())  # noqa: S301
