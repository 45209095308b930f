"""HDF5 files by h5py: a data set of features, a data set of labels, or a group with both under the usual names.

Links to other files, external storage, virtual data sets, and types of variable length are refused: reading them would
read other files or run through the heap of a file that may be damaged.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.arrays import Array, Rows, check_chunk
from ptrain.data.sources.containers import Container, open_arrays
from ptrain.data.sources.names import listed
from ptrain.data.sources.validity import coding_of, decoded, says_how
from ptrain.data.store.reading import check_expansion, decoding, need_content, need_package, reading
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

KIND = "an HDF5 file"
_LINKS = 16  # soft links on the way to a data set
_NAMES = 10_000  # entries of a group that are looked at
_NETCDF_FILL = {
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "i8": -9223372036854775806,
    "u8": 18446744073709551614, "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
"""What NetCDF-4 puts where nothing was written, and no ``_FillValue`` says otherwise: NetCDF users guide, appendix."""


def open_hdf5(spec: str, request: Request) -> Stream:
    """The stream of FILE, FILE:/GROUP or FILE:/GROUP/FEATURES; see ``containers.open_arrays``."""
    return open_arrays("hdf5", _container, spec, request)


def _container(path: Path) -> Container:
    def names(group: str) -> list[str] | None:
        with opened(path) as file, decoding(str(path), KIND):
            node = resolve(file, group, str(path))
            return list_names(node) if hasattr(node, "keys") else None

    return Container(path, names, partial(open_array, path))


def open_array(path: Path, name: str) -> Array:
    """A data set of a file, checked, to be read by rows."""
    origin = f"{path}:/{name}"
    with opened(path) as file, decoding(origin, KIND):
        dataset = resolve(file, name, str(path))
        check_dataset(dataset, origin, path.stat().st_size)
        chunk = 1 if dataset.chunks is None else dataset.chunks[0]
        how = partial(rows_of, path, name, origin, lambda dataset, start, stop: dataset[start:stop])
        array = Array(origin=origin, shape=dataset.shape, dtype=dataset.dtype, open=how, chunk=chunk)
        return decoded(array, coding_of(_attributes(file, dataset), dataset.dtype, origin), dataset.fillvalue)


def _attributes(file: Any, dataset: Any) -> dict[str, Any]:
    """The attributes that say how values are to be read, and what the NetCDF library fills without being told."""
    found = {name: dataset.attrs[name] for name in dataset.attrs if says_how(name)}
    unwritten = _NETCDF_FILL.get(dataset.dtype.str[1:])
    if "_NCProperties" in file.attrs and unwritten is not None and unwritten == dataset.fillvalue:
        found.setdefault("_FillValue", unwritten)
    return found


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the h5py file of a path; raises DataError where it is none."""
    need_content(path, KIND)
    h5py = need_package("h5py", str(path))
    with (
        reading(path, KIND),
        path.open("rb") as stream,
    ):  # h5py's message about a missing permission is three lines long
        if stream.read(3) == b"CDF":
            raise DataError(f"{path}: is NetCDF-3; expected NetCDF-4, which is HDF5: nccopy -k nc4 {path.name} NEW.nc")
    with decoding(str(path), KIND):
        # locks fail on many parallel file systems, and nothing is written here
        file = h5py.File(path, "r", locking=False)
    try:
        yield file
    finally:
        with decoding(str(path), KIND):
            file.close()


@contextmanager
def rows_of(path: Path, name: str, origin: str, cut: Callable[[Any, int, int], NDArray[np.generic]]) -> Iterator[Rows]:
    """Open a data set, checked, and yield what reads its samples: ``cut`` takes some of them out of it."""
    with opened(path) as file:
        with decoding(origin, KIND):
            dataset = resolve(file, name, str(path))
            check_dataset(dataset, origin, path.stat().st_size)

        def read(start: int, stop: int) -> NDArray[np.generic]:
            with decoding(f"{origin}, samples {start} to {stop - 1}", KIND):
                return cut(dataset, start, stop)

        yield read


def resolve(file: Any, name: str, origin: str) -> Any:
    """The object of a name, link by link; raises DataError at a link that leaves the file."""
    h5py = need_package("h5py", origin)
    node, steps, links = file, [step for step in name.split("/") if step], 0
    while steps:
        step = steps.pop(0)
        link = None
        if hasattr(node, "keys") and node.id.links.exists(step.encode()):  # unlike "step in node" this follows no link
            link = node.get(step, getlink=True)
        if link is None:
            inside = listed(list_names(node)) if isinstance(node, h5py.Group) else "a data set"
            raise DataError(f"{origin}: no /{name} in it; expected a name in {node.name}, which holds {inside}")
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{origin}: /{name} is an external link to another file, {link.filename}, which is never followed; "
                "expected the data in this file: name that other file, or copy them with h5copy"
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _LINKS:
                raise DataError(f"{origin}: /{name} is behind more than {_LINKS} soft links; expected a data set")
            node = file if link.path.startswith("/") else node
            steps = [part for part in link.path.split("/") if part not in ("", ".")] + steps
        else:
            node = node[step]
    return node


def list_names(group: Any) -> list[str]:
    """The names in a group, the first ten thousand; none for a data set."""
    return list(islice(group.keys(), _NAMES)) if hasattr(group, "keys") else []


def check_dataset(dataset: Any, origin: str, file_size: int) -> None:
    """Raise DataError unless this is a data set whose values are in this file, as many as it declares."""
    h5py = need_package("h5py", origin)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{origin}: is no data set; expected one of numbers: name the one in it")
    if dataset.is_virtual or dataset.external:
        how = "is a virtual data set, whose values are" if dataset.is_virtual else "has external storage"
        raise DataError(f"{origin}: {how} in other files; expected the values: copy them with h5repack")
    dtype, shape = dataset.dtype, dataset.shape
    if shape is None:
        raise DataError(f"{origin}: has no values (null data space); expected numbers")
    if dtype.kind not in "biufUS" or dtype.subdtype is not None:
        sort = {"O": "of variable length or references", "V": "compound"}.get(dtype.kind, str(dtype))
        raise DataError(
            f"{origin}: its type is {sort}; expected numbers (labels also text of fixed length): convert it"
        )
    declared, stored = math.prod(shape) * dtype.itemsize, int(dataset.id.get_storage_size())
    if declared and not stored:
        raise DataError(
            f"{origin}: declares {declared} bytes of values but holds none; expected values: write it again"
        )
    if stored > file_size or (dataset.chunks is None and stored < declared):
        raise DataError(
            f"{origin}: {declared} bytes of values declared, {stored} stored, in a file of {file_size}: truncated or "
            "damaged, write it again"
        )
    check_expansion(origin, declared, stored)
    if dataset.chunks is None:
        return
    check_chunk(dataset.chunks, dataset.dtype, origin, " (h5repack -l)")
    # libraries of unknown filters would be looked for and loaded by HDF5 itself
    created = dataset.id.get_create_plist()
    for code, _, _, filter_name in map(created.get_filter, range(created.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            shown = filter_name.decode("utf-8", "replace") or "unknown"
            raise DataError(
                f"{origin}: compressed by the filter {code} ({shown}), which is not installed; expected gzip or lzf: "
                "convert it with h5repack -f GZIP=4"
            )
