"""The state of a training run: all that a checkpoint holds, and nothing that it does not."""

from dataclasses import dataclass, field
from typing import Any

import torch

from ptrain.models.base import Layout
from ptrain.optimizers.rules import OPTIMIZERS


@dataclass(kw_only=True)
class Progress:
    """Counters that decide when to stop and which checkpoint is the best."""

    best_loss: float | None = None
    """Lowest validation loss so far."""
    best_epoch: int | None = None
    """Number of the epoch (from 1) that reached it."""
    best_step: int | None = None
    """Steps done at the end of that epoch: the name of its checkpoint."""
    seconds: float = 0.0
    """Time spent in training steps, over all runs that were continued."""


@dataclass(kw_only=True)
class State:
    """Parameters, optimizer vectors and the sums of the running epoch.

    There is no random state: everything random is a function of seed, epoch, step and shard.
    """

    parameters: torch.Tensor
    """Flat vector (length,)."""
    optimizer: dict[str, torch.Tensor]
    """Vectors of the optimizer, each (length,)."""
    row_losses: torch.Tensor
    """float64 (local shards, rows): losses of this epoch so far, summed by row of a shard."""
    row_hits: torch.Tensor
    """int64 (local shards, rows): right predictions of this epoch so far."""
    step: int = 0
    """Steps done since the start of the training."""
    progress: Progress = field(default_factory=Progress)

    def start_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.row_losses.zero_()
        self.row_hits.zero_()


def new_state(parameters: torch.Tensor, optimizer: str, shards: int, rows: int) -> State:
    """The state before the first step, on the device of ``parameters``, for a rank that owns ``shards``."""
    device = parameters.device
    return State(
        parameters=parameters,
        optimizer={name: torch.zeros_like(parameters) for name in OPTIMIZERS[optimizer].state},
        row_losses=torch.zeros(shards, rows, dtype=torch.float64, device=device),
        row_hits=torch.zeros(shards, rows, dtype=torch.int64, device=device),
    )


def to_tensors(state: State, layout: Layout, row_sums: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Everything a checkpoint stores, by name, on the CPU. row_sums: row_losses and row_hits of all shards."""
    tensors = {f"model.{name}": view.cpu().clone() for name, view in layout.views(state.parameters).items()}
    for vector, flat in state.optimizer.items():
        tensors |= {f"optimizer.{vector}.{name}": view.cpu().clone() for name, view in layout.views(flat).items()}
    return tensors | {f"epoch.{name}": value.cpu().clone() for name, value in row_sums.items()}


def from_tensors(state: State, layout: Layout, tensors: dict[str, Any], shards: range) -> None:
    """Fill ``state`` from a checkpoint's tensors; ``shards`` are the ones that this rank owns now."""
    for name, view in layout.views(state.parameters).items():
        view.copy_(tensors[f"model.{name}"])
    for vector, flat in state.optimizer.items():
        for name, view in layout.views(flat).items():
            view.copy_(tensors[f"optimizer.{vector}.{name}"])
    state.row_losses.copy_(tensors["epoch.row_losses"][shards.start : shards.stop])
    state.row_hits.copy_(tensors["epoch.row_hits"][shards.start : shards.stop])
