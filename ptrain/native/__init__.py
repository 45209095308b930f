"""The compiled kernels of a training step on a CPU: which are used, and calls whose arguments are laid down once."""

from ptrain.native.calls import (
    BARRIER_WORDS,
    CallList,
    GivenUpError,
    barrier,
    column_sums,
    cross_entropy,
    fuse,
    gather,
    linear,
    reduce,
    set_divisor,
    set_indices,
    set_update,
    update,
    weight_gradient,
)
from ptrain.native.choice import VARIABLE, choose, instruction_set, resolve
from ptrain.native.structs import Call, address

__all__ = [
    "BARRIER_WORDS",
    "VARIABLE",
    "Call",
    "CallList",
    "GivenUpError",
    "address",
    "barrier",
    "choose",
    "column_sums",
    "cross_entropy",
    "fuse",
    "gather",
    "instruction_set",
    "linear",
    "reduce",
    "resolve",
    "set_divisor",
    "set_indices",
    "set_update",
    "update",
    "weight_gradient",
]
