"""MATLAB's .mat files: those of versions 5 to 7 by mat5, those of version 7.3, which is HDF5 in disguise, by h5py.

The samples are the first dimension of the features, as in X of (N, F), or the last, as in X of (32, 32, 3, N) of SVHN:
whichever is as long as the labels, the first where both are.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources import hdf5, mat5
from ptrain.data.sources.array_stream import to_stream
from ptrain.data.sources.arrays import Array, Pair, Rows
from ptrain.data.sources.containers import Container, find_arrays
from ptrain.data.sources.mat5 import NUMBERS, Variable
from ptrain.data.sources.names import listed
from ptrain.data.store.reading import check_expansion, decoding, need_content, need_package, reading
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

KIND = "a .mat file"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_mat(spec: str, request: Request) -> Stream:
    """The stream of FILE.mat or FILE.mat:FEATURES; --labels is FILE.mat:LABELS, in this or another file.

    Memory: one read of at most 64 MiB, and of version 7.3 a chunk of at most 64 MiB, of version 7 a whole compressed
    variable, which is at most 2 GiB by the format. Raises DataError for anything but real numbers.
    """
    found = find_arrays("mat", _container, spec, request)
    last = bool((request.schema or {}).get("samples_last", False))
    train, last = _oriented(found.train, last)
    held_out = {split: _oriented(pair, last)[0] for split, pair in found.held_out.items()}
    options, warnings = {**(found.options or {}), "last": last}, found.warnings
    shape = found.train.features.shape
    if not last and train.labels is not None and shape[0] == shape[-1] and len(shape) > 1:
        text = f"{train.features.origin}: as many rows as columns, {shape[0]}: the rows are taken as the samples"
        warnings = (*warnings, text)
    stream = to_stream(replace(found, train=train, held_out=held_out, options=options, warnings=warnings), request)
    if not last:
        return stream
    note = f"{train.features.origin}: its last dimension is the samples, {train.features.shape[0]:,}"
    return replace(stream, schema={**(stream.schema or {}), "samples_last": True}, notes=(*stream.notes, note))


def _container(path: Path) -> Container:
    def names(group: str) -> list[str] | None:
        return None if group else list(variables(path))

    return Container(path, names, partial(open_array, path), ":")


@dataclass(frozen=True, kw_only=True, eq=False)
class Turnable(Array):
    """A variable, and how the samples along its last dimension are read."""

    open_last: Callable[[], AbstractContextManager[Rows]]
    chunk_last: int = 1


def _turned(array: Array) -> Array:
    """The array whose first dimension is the last of this one."""
    assert isinstance(array, Turnable)
    shape = (array.shape[-1], *array.shape[:-1])
    return replace(array, shape=shape, open=array.open_last, chunk=array.chunk_last)


def _oriented(pair: Pair, last: bool) -> tuple[Pair, bool]:
    """Arrays with the samples as first dimension, labels as (N, 1) or (N, K), and whether the samples were the last."""
    array, labels = pair.features, pair.labels
    if labels is not None:
        shape = labels.shape
        is_row = len(shape) == 2 and shape[0] == 1 != shape[1]
        # toolboxes for networks have a column a sample, in inputs and in one-hot targets
        if is_row or (len(shape) == 2 and 1 < shape[0] < shape[1] == array.shape[-1]):
            labels = _turned(labels)
        if labels.shape and array.shape:
            last = array.shape[0] != labels.shape[0] and array.shape[-1] == labels.shape[0]
    return replace(pair, features=_turned(array) if last else array, labels=labels), last


def variables(path: Path) -> dict[str, Variable]:
    """The variables of a file by name, from its headers alone."""
    size = need_content(path, KIND)
    if is_hdf5(path):
        with hdf5.opened(path) as file, decoding(str(path), KIND):
            names = [name for name in hdf5.list_names(file) if name.isidentifier() and len(name) <= 63]
            return {name: _variable_73(file, name) for name in names}
    with decoding(str(path), KIND), reading(path, KIND), path.open("rb") as stream:
        found = mat5.variables(path, stream, size)
    for variable in found.values():
        if variable.kind in NUMBERS:
            declared = math.prod(variable.shape) * np.dtype(NUMBERS[variable.kind]).itemsize
            check_expansion(f"{path}:{variable.name}", declared, size)
    return found


def open_array(path: Path, name: str) -> Turnable:
    """A variable of real numbers, with its dimensions in MATLAB's order, to be read by rows of the first."""
    found = variables(path)
    variable, origin = found.get(name), f"{path}:{name}"
    if variable is None:
        raise DataError(f"{path}: no variable {name} in it; expected one of {listed(found)}")
    if variable.kind not in NUMBERS:
        raise DataError(
            f"{origin}: is of MATLAB's class {variable.kind}; expected real numbers in a full array: convert it in "
            "MATLAB, such as with full, double or grp2idx, and save it again"
        )
    dtype, chunks = np.dtype(NUMBERS[variable.kind]), (1,)
    first, last = (partial(_rows, path, variable, turned) for turned in (False, True))
    if is_hdf5(path) and math.prod(variable.shape) != 0:  # of an empty array version 7.3 stores the shape as values
        dtype = hdf5.open_array(path, name).dtype
        with hdf5.opened(path) as file, decoding(origin, KIND):
            chunks = hdf5.resolve(file, name, str(path)).chunks or (1,)
        # HDF5 has MATLAB's dimensions in reverse
        cuts: tuple[Any, ...] = (
            lambda dataset, start, stop: dataset[..., start:stop].T,
            lambda dataset, start, stop: np.moveaxis(dataset[start:stop].T, -1, 0),
        )
        first, last = (partial(hdf5.rows_of, path, name, origin, cut) for cut in cuts)
    how: dict[str, Any] = {"open": first, "chunk": chunks[-1], "open_last": last, "chunk_last": chunks[0]}
    return Turnable(origin=origin, shape=variable.shape, dtype=dtype, **how)


def is_hdf5(path: Path) -> bool:
    """Whether this is a file of version 7.3: HDF5 after 512 bytes of MATLAB's own, or from its start."""
    with reading(path, KIND), path.open("rb") as stream:
        start = stream.read(520)
    return start[:8] == _HDF5 or start[512:] == _HDF5


def _variable_73(file: Any, name: str) -> Variable:
    # links and groups are looked at only where the name is asked for
    h5py = need_package("h5py", name)
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return Variable(name=name, shape=(), kind="struct or link")
    node = file[name]
    kind = node.attrs.get("MATLAB_class", b"")
    kind = (kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind))[:40]
    shape: tuple[int, ...] = ()
    if getattr(node, "shape", None) is None:
        kind = "sparse" if "MATLAB_sparse" in node.attrs else kind or "struct"
    elif "MATLAB_empty" in node.attrs:
        shape = (0, 0)
    else:
        shape, is_number = node.shape[::-1], node.dtype.kind in "biuf"
        kind = kind or ("double" if is_number else "text")  # a file of h5py that ends in .mat has no class
        if not is_number and (node.dtype.kind == "V" or kind in NUMBERS):
            kind = "complex"
    return Variable(name=name, shape=shape, kind=kind)


@contextmanager
def _rows(path: Path, variable: Variable, last: bool) -> Iterator[Rows]:
    """Read samples along the first or last dimension of a variable of version 5 to 7."""
    dtype = np.dtype(NUMBERS[variable.kind])
    if math.prod(variable.shape) == 0:
        values: NDArray[np.generic] = np.empty(variable.shape, dtype)
    else:
        with decoding(f"{path}:{variable.name}", KIND), reading(path, KIND), path.open("rb") as stream:
            values = mat5.values(path, variable, stream)
    values = np.moveaxis(values, -1, 0) if last else values
    yield lambda start, stop: values[start:stop].astype(dtype)
