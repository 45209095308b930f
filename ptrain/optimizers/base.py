"""What every update rule is made of: its vectors, and its arithmetic in torch's operations.

The compiled kernel knows the same rules by the same names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ptrain.config import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Equal slices of all the vectors that an update works on."""

    parameters: torch.Tensor
    gradient: torch.Tensor
    """Mean gradient of the step; used up by the update."""
    decay: torch.Tensor | None
    """weight_decay where a weight lies, 0 at biases; None without weight decay."""
    scratch: torch.Tensor
    state: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One update rule."""

    apply_: Callable[[OptimizerConfig, float, int, Slice], None]
    """(config, learning rate, step from 0, slice): the update in place, after weight decay.

    In elementwise operations that round once (no fused multiply-add), so that an update has the same bits wherever a
    processor's vector loop ends and however the vector is shared out over threads.
    """
    state: tuple[str, ...] = ()
    """Vectors that it keeps, each as long as the flat parameters."""
    is_decoupled: bool = False
    """Whether weight decay is taken from the parameters, times the learning rate, and not added to the gradient."""
    corrects_bias: bool = False
    """Whether rate and second moment are corrected for the moments' start at 0."""
