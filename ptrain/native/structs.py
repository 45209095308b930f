"""Calls of kernels: structs with named fields that C reads, the same as in structs.h."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

try:
    from ptrain.native import _kernels as _compiled  # type: ignore[attr-defined]
except ImportError:  # there was no C compiler
    _compiled = None
kernels: Any = _compiled
"""The compiled module, None where there is none."""

FIELDS = {
    "linear": "*a a_stride shards rows depth *b transposed n *bias relu *gate *out out_stride",
    "gradient": "*input input_stride width *grad grad_stride shards rows inputs outputs *merges *out node_stride "
    ".divisor by_inverse *finite",
    "column_sums": "*values stride shards rows n *merges *out node_stride",
    "cross_entropy": "*outputs outputs_stride *labels *weights *class_weights shards rows n *row_losses *grad "
    "grad_stride *epoch_losses *epoch_hits",
    "reduce": "*pieces num_pieces *additions num_additions start stop .divisor by_inverse *out *finite",
    "update": "*flags num_flags kind count *parameters *gradient *decay *first *second .factor .rate .decay_rate "
    ".momentum .beta1 .one_minus_beta1 .beta2 .one_minus_beta2 .second_scale .epsilon",
    "gather": "*features item width *labels label_item *indices count ahead shards rows *offset *scale *out "
    "out_stride *labels_out *weights_out",
    "barrier": "*words size spins *given_up",
}
"""Arguments of every kernel, in the order of their numbers. ``*``: an address; ``.``: a double; else a whole number."""
KINDS = {"*": ctypes.c_void_p, ".": ctypes.c_double}


class Call(ctypes.Structure):
    """One kernel with its arguments as attributes, which may be set again. Holds what the addresses point to.

    An attribute that the kernel does not have is an AttributeError.
    """

    # No __dict__: a misspelt field would be set there, silently.
    __slots__ = ("_pair", "_pair_address", "kept")
    operation: ClassVar[int]
    fields: ClassVar[dict[str, Any]]

    def __init__(self, **arguments: Any):
        assert arguments.keys() == self.fields.keys()
        arrays = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor | np.ndarray)}
        self.kept: list[Any] = list(arrays.values())
        super().__init__(**arguments | {name: address(array) for name, array in arrays.items()})
        self._pair = (ctypes.c_long * 2)(self.operation, ctypes.addressof(self))
        self._pair_address = ctypes.addressof(self._pair)

    def __call__(self) -> None:
        """Run the kernel; raises MemoryError where its scratch memory cannot be had."""
        kernels.run(self._pair_address, 1)


def _struct(operation: int, name: str) -> type[Call]:
    fields = {field.lstrip("*."): KINDS.get(field[0], ctypes.c_long) for field in FIELDS[name].split()}
    content = {"__slots__": (), "_fields_": list(fields.items()), "fields": fields, "operation": operation}
    return type(name, (Call,), content)


STRUCTS = {name: _struct(operation, name) for operation, name in enumerate(FIELDS)}


def check(compiled: Mapping[str, Sequence[tuple[str, str, int, int]]]) -> None:
    """Compare these structs with the compiled ones, {name: [(field, kind, offset, size)]}.

    Raises RuntimeError where they differ in anything: the kernels would read other numbers than were written.
    """
    here = {
        name: [
            (field, kind._type_, getattr(struct, field).offset, getattr(struct, field).size)
            for field, kind in struct.fields.items()
        ]
        for name, struct in STRUCTS.items()
    }
    if list(compiled.items()) != list(here.items()):  # as lists, since the order is that of the kernels' numbers
        found = next((name for name in here if compiled.get(name) != here[name]), "their order")
        raise RuntimeError(f"ptrain.native was compiled from other sources than these ({found}): install ptrain again")


def address(array: torch.Tensor | NDArray[Any]) -> int:
    """Where the first element lies."""
    return array.data_ptr() if isinstance(array, torch.Tensor) else array.ctypes.data
