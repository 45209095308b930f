"""What every update rule is made of: its vectors, and its arithmetic in torch's operations.

The compiled kernel knows the same rules by the same names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from ptrain.config import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """What an update reads and changes: (length,) each, or equal slices of all of them."""

    parameters: torch.Tensor
    gradient: torch.Tensor
    """The mean gradient. A rule uses it up; the updates of ptrain.optimizers.update leave it as it is."""
    decay: torch.Tensor | None
    """weight_decay where a weight lies, 0 at biases; None without weight decay."""
    scratch: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """Of a rule in torch's operations."""
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """The vectors of the optimizer."""

    def cut(self, part: slice) -> "Vectors":
        """Cut all of them."""
        return Vectors(
            parameters=self.parameters[part],
            gradient=self.gradient[part],
            decay=None if self.decay is None else self.decay[part],
            scratch=self.scratch[part],
            state={name: vector[part] for name, vector in self.state.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One update rule."""

    apply_: Callable[[OptimizerConfig, float, int, Vectors], None]
    """(config, learning rate, step from 0, vectors): the update in place, after weight decay.

    In elementwise operations that round once (no fused multiply-add), so that an update has the same bits wherever a
    processor's vector loop ends and however the vector is shared out over threads.
    """
    state: tuple[str, ...] = ()
    """Vectors that it keeps, each as long as the flat parameters."""
    is_decoupled: bool = False
    """Whether weight decay is taken from the parameters, times the learning rate, and not added to the gradient."""
    corrects_bias: bool = False
    """Whether rate and second moment are corrected for the moments' start at 0."""
