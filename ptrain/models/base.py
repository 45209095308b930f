"""What steps and evaluations know of a network: where its parameters lie, and programs for blocks of gradient shards.

Another network is one file with a class that keeps ``Model`` and one row of the table in ``ptrain.models.table``.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch

from ptrain.models.buffers import ShardBuffer

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many floats (64 bytes), where matrix libraries expect it."""

Operation = Callable[[], object]
Kernels = Literal["native", "torch"]


def aligned(count: int) -> int:
    """Round ``count`` up to a multiple of ALIGNMENT."""
    return -(-count // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One parameter: where it lies in the flat vector, and what its gradient is made of."""

    name: str
    shape: tuple[int, ...]
    decays: bool
    """Whether weight decay applies to it."""
    grad: str = ""
    """Buffer of a program with the derivative by what the parameter was added or multiplied into; empty where a
    program only gives the whole gradient of a shard, so that slices of parameters cannot be computed."""
    source: str = ""
    """Buffer with what it was multiplied by: its gradient is the sum over rows of source x grad, else of grad alone."""
    offset: int = 0

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """Cut the parameter out of flat vectors. flat: (..., length); result: (..., *shape)."""
        return flat[..., self.offset : self.offset + self.count].view(*flat.shape[:-1], *self.shape)


@dataclass(frozen=True)
class Layout:
    """Where every parameter lies in one flat vector, in which gradients and optimizer vectors are laid out as well."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, slots: Sequence[Slot]) -> "Layout":
        """Lay parameters one behind the other, each at a multiple of ALIGNMENT."""
        placed: list[Slot] = []
        offset = 0
        for slot in slots:
            placed.append(dataclasses.replace(slot, offset=offset))
            offset += aligned(slot.count)
        return cls(tuple(placed))

    @cached_property
    def length(self) -> int:
        """Elements of the flat vector, padding included."""
        return self.slots[-1].offset + aligned(self.slots[-1].count)

    @property
    def num_parameters(self) -> int:
        """Number of parameters, padding not counted."""
        return sum(slot.count for slot in self.slots)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cut flat vectors into parameters, by name. flat: (..., length)."""
        return {slot.name: slot.view(flat) for slot in self.slots}

    def decay(self, rate: float, device: torch.device) -> torch.Tensor | None:
        """Spread a weight decay over the vector: (length,), 0 at what does not decay and at padding; None for 0."""
        if not rate:
            return None
        decay = torch.zeros(self.length, device=device)
        for slot in self.slots:
            if slot.decays:
                slot.view(decay).fill_(rate)
        return decay


def parameters_sha256(layout: Layout, flat: torch.Tensor) -> str:
    """Hash all parameters in order, as float32 little-endian bytes without padding."""
    digest = hashlib.sha256()
    host = flat.detach().to("cpu")
    for slot in layout.slots:
        digest.update(slot.view(host).contiguous().numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


class Parameters:
    """The parameter vector as products read it: float32, or for bf16 a bfloat16 copy of it."""

    def __init__(self, flat: torch.Tensor, precision: str):
        self.flat = flat
        self.products = flat if precision == "fp32" else flat.to(torch.bfloat16)
        """``flat`` itself, or its copy."""
        self.precision = precision

    def refresh(self) -> None:
        """Bring the copy up to date after a change of ``flat``."""
        if self.products is not self.flat:
            self.products.copy_(self.flat)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where a program that trains leaves its results, and what its random numbers depend on."""

    seed: int
    gradients: torch.Tensor | None
    """(sums, length + 1 or more): a shard's gradient and, behind it, its loss; with ``merges`` sums over subtrees.
    None: the buffers that slots name are all that is wanted (see ``Memory``)."""
    merges: Sequence[int] | None
    """After each shard, how many sums are added to the one before; None where every shard has a row of its own."""
    class_weights: torch.Tensor | None
    epoch_losses: torch.Tensor
    """float64 (shards, rows): row losses are added to it."""
    epoch_hits: torch.Tensor
    """int64 (shards, rows): right predictions are added to it."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What gradients are made of, in memory that is not the program's own: other ranks read it."""

    buffers: Mapping[str, ShardBuffer]
    """By the names of ``Model.buffers``."""
    row_losses: torch.Tensor
    """(shards, rows) float32."""


class Program(Protocol):
    """One pass over some neighbouring gradient shards, on buffers of its own: an inference, or a step's training.

    ``features`` (shards, rows, inputs) float32, ``labels`` (shards, rows) int64 and ``weights`` (shards, rows) float32,
    0 for padding rows, are filled in from outside.
    """

    features: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    outputs: torch.Tensor
    """(shards, rows, classes): what the network says."""
    row_losses: torch.Tensor
    """(shards, rows)."""
    draws: Sequence[Operation]
    """What the host does first: random numbers, sent to the device without waiting for it."""
    computes: Sequence[Operation]
    """And then the device: with torch's kernels the same operations on the same buffers at every step."""

    def begin(self, step: int) -> None:
        """Say which step the next pass is of, for the random numbers."""

    def run(self) -> None:
        """Do all of ``draws`` and ``computes``."""


class Model(Protocol):
    """A network on data of a certain width and number of classes."""

    layout: Layout
    num_features: int
    title: str
    """Its size in short, such as 64-128-10."""
    description: dict[str, Any]
    """What a run directory holds of it besides the configuration, so that it can be made again."""
    buffers: dict[str, int]
    """Width of each buffer that slots name."""

    def initial(self, seed: int) -> torch.Tensor:
        """Draw the parameters before the first step: float32 (length,) on the CPU, a function of the seed alone."""

    def program(
        self,
        parameters: Parameters,
        kernels: Kernels,
        shards: range,
        rows: int,
        training: Training | None = None,
        memory: Memory | None = None,
    ) -> Program:
        """Bind a pass over these shards, ``rows`` rows each, to buffers on the parameters' device.

        Without ``training`` it is an inference. What a shard gives has the same bits in any block of shards.
        """


class Loader(Protocol):
    """Brings the samples of a step, or of a chunk of an evaluation, into the tensors of programs."""

    def select(self, epoch: int, index: int) -> None:
        """Choose the samples of a step of an epoch, and send the device what it needs, without waiting for it."""

    def bind(self, shards: range, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Operation:
        """Make the operation that fills these tensors with what was selected for some of the loader's shards.

        features: (shards, rows, inputs); labels, weights: (shards, rows). Rows without a sample get weight 0. Not on
        the CPU: an operation of the device alone, the same at every step.
        """
