"""Calls of kernels: structs with named fields that C reads, made from what structs.h says of them."""

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

KINDS: dict[str, Any] = {kind._type_: kind for kind in (ctypes.c_void_p, ctypes.c_long, ctypes.c_double)}


class Call(ctypes.Structure):
    """One kernel with its arguments as attributes, which may be set again. Holds what the addresses point to.

    An attribute that the kernel does not have is an AttributeError.
    """

    # No __dict__: a misspelt field would be set there, silently.
    __slots__ = ("_pair", "_pair_address", "kept")
    operation: ClassVar[int]
    fields: ClassVar[dict[str, Any]]

    def __init__(self, **arguments: Any):
        arrays = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor | np.ndarray)}
        self.kept: list[Any] = list(arrays.values())
        super().__init__(**arguments | {name: address(array) for name, array in arrays.items()})
        self._pair = (ctypes.c_long * 2)(self.operation, ctypes.addressof(self))
        self._pair_address = ctypes.addressof(self._pair)

    def __call__(self) -> None:
        """Run the kernel; raises MemoryError where its scratch memory cannot be had."""
        kernels.run(self._pair_address, 1)


def structs_of(compiled: Mapping[str, Sequence[tuple[str, str, int, int]]]) -> dict[str, type[Call]]:
    """Classes for the compiled structs, {name: [(field, kind, offset, size)]}, in the order of their numbers."""
    structs: dict[str, type[Call]] = {}
    for operation, (name, described) in enumerate(compiled.items()):
        fields = {field: KINDS[kind] for field, kind, _, _ in described}
        content = {"__slots__": (), "_fields_": list(fields.items()), "fields": fields, "operation": operation}
        structs[name] = type(name, (Call,), content)
        lie = [(getattr(structs[name], field).offset, getattr(structs[name], field).size) for field in fields]
        assert lie == [(offset, size) for _, _, offset, size in described], f"{name} lies otherwise in C"
    return structs


STRUCTS = structs_of(getattr(kernels, "STRUCTS", {}))


def call_of(name: str, **arguments: Any) -> Call:
    """Make a call of a kernel. Raises RuntimeError where the compiled ones have none that takes these arguments."""
    struct = STRUCTS.get(name)
    if struct is None or struct.fields.keys() != arguments.keys():
        raise RuntimeError(f"ptrain.native was compiled from other sources than these ({name}): install ptrain again")
    return struct(**arguments)


def address(array: torch.Tensor | NDArray[Any]) -> int:
    """Where the first element lies."""
    return array.data_ptr() if isinstance(array, torch.Tensor) else array.ctypes.data
