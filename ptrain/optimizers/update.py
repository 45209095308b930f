"""The update of a run's vectors, slice by slice: by the compiled kernel, or in torch's operations.

Their bits differ for adam and adamw: torch's square root is not always the nearest number.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.config import OptimizerConfig
from ptrain.native import calls
from ptrain.optimizers.base import Vectors
from ptrain.optimizers.rules import corrected, update_


class CompiledUpdate:
    """An update whose ``operations``, a slice each, are calls of the kernel; they do nothing where a flag is 0."""

    def __init__(
        self, config: OptimizerConfig, vectors: Vectors, slices: Sequence[slice], flags: NDArray[np.int32] | None = None
    ):
        self._config = config
        numbers = {name: getattr(config, name) for name in ("momentum", "beta1", "beta2", "epsilon")}
        self.operations: list[calls.Call] = []
        for own in map(vectors.cut, slices):
            tensors = (own.parameters, own.gradient, own.decay, list(own.state.values()))
            self.operations.append(calls.update(config.optimizer, *tensors, numbers, flags))

    def select(self, factor: float | torch.Tensor, rate: float, step: int) -> None:
        """Let the operations be those of this step, with ``factor`` times the gradient."""
        scaled, second_scale = corrected(self._config, rate, step)
        number = float(factor)
        for call in self.operations:
            call.factor, call.rate, call.decay_rate, call.second_scale = number, scaled, rate, second_scale


class TorchUpdate:
    """An update whose ``operations``, a slice each, are torch's; the host does not wait for any of them."""

    def __init__(self, config: OptimizerConfig, vectors: Vectors, slices: Sequence[slice]):
        self._config = config
        self._factor: float | torch.Tensor = 1.0
        self._rate, self._step = 0.0, 0
        own, scratch = (torch.zeros_like(vectors.parameters) for _ in ("gradient", "scratch"))
        copied = dataclasses.replace(vectors, gradient=own, scratch=scratch)
        self.operations: list[Callable[[], None]] = [
            partial(self._update, vectors.gradient[part], copied.cut(part)) for part in slices
        ]

    def select(self, factor: float | torch.Tensor, rate: float, step: int) -> None:
        """Let the operations be those of this step, with ``factor`` times the gradient."""
        self._factor, self._rate, self._step = factor, rate, step

    def _update(self, gradient: torch.Tensor, part: Vectors) -> None:
        torch.mul(gradient, self._factor, out=part.gradient)
        update_(self._config, self._rate, self._step, part)


def clip_factor(gradient: torch.Tensor, clip_norm: float | None) -> float | torch.Tensor:
    """The factor, a float32 scalar, that cuts a gradient (length,) down to ``clip_norm``; 1.0 without a limit."""
    if clip_norm is None:
        return 1.0
    # The quotient is taken in double precision and rounded once.
    norm = torch.linalg.vector_norm(gradient).double()
    # A number divided by a tensor would be the tensor's rounded reciprocal times the number.
    return torch.full_like(norm, clip_norm).div_(norm).clamp_max_(1.0).float()
