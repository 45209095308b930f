""".npy and .npz files of numpy. Pickled objects are never read."""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Source
from ptrain.data.sources.array_source import to_source
from ptrain.data.sources.array_stream import missing_of, to_stream
from ptrain.data.sources.arrays import Array, Arrays, Pair, in_memory
from ptrain.data.sources.containers import Container, find_arrays
from ptrain.data.sources.names import listed
from ptrain.data.store import npy
from ptrain.data.store.npy import need_bytes, read_header
from ptrain.data.store.reading import check_expansion, decoding, need_content, no_values, reading
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

_KIND = "a .npz file"


def open_npy(spec: str, request: Request) -> Source | Stream:
    """Samples of a file of features (N, ...), mapped; ``--labels`` is a file of labels (N,), (N, 1) or (N, classes)."""
    path, labels = Path(spec).expanduser(), request.config.labels
    features = npy.read(path)
    files, given = [path], None
    if request.labelled:
        if labels is None:
            raise DataError(f"{path}: features without labels; expected --labels FILE.npy with one number a sample")
        files.append(Path(labels).expanduser())
        given = in_memory(npy.read(files[1]), str(files[1]))
    arrays = Arrays(Pair(in_memory(features, str(path)), given), {}, name=f"npy:{path}", files=tuple(files))
    # rows of more than one dimension that lie columns first cannot be mapped as rows
    turned = features.ndim > 2 and not features.flags.c_contiguous
    return _opened(arrays, request, in_blocks=turned)


def open_npz(spec: str, request: Request) -> Source | Stream:
    """Samples of FILE or FILE:FEATURES, by the names of arrays; --labels is FILE:LABELS, in this or another file.

    Memory: the arrays, unpacked.
    """
    return _opened(find_arrays("npz", _container, spec, request), request)


def _opened(arrays: Arrays, request: Request, *, in_blocks: bool = False) -> Source | Stream:
    """Arrays as they lie there, or read in blocks and converted where values are missing or in another order."""
    if in_blocks or missing_of(request) != "error":
        return to_stream(arrays, request)
    return to_source(arrays)


def _container(path: Path) -> Container:
    need_content(path, _KIND)
    with decoding(str(path), _KIND), reading(path, _KIND), zipfile.ZipFile(path) as archive:
        found = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def names(group: str) -> list[str] | None:
        inside = [name.removeprefix(f"{group}/") for name in found if name.startswith(f"{group}/")] if group else found
        if group and not inside and group not in found:
            raise DataError(f"{path}: no array {group} in it; expected one of {listed(found)}")
        return None if group in found else inside

    return Container(path, names, partial(_array, path), ":")


def _array(path: Path, name: str) -> Array:
    return in_memory(_read(path, name), f"{path}, array {name}")


def _read(path: Path, name: str) -> NDArray[np.generic]:
    """An array of an archive, rows first."""
    origin = f"{path}, array {name}"
    with decoding(origin, _KIND), reading(path, _KIND), zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo(f"{name}.npy")
        except KeyError:
            inside = listed(one.removesuffix(".npy") for one in archive.namelist())
            raise DataError(f"{path}: no array {name} in it; expected one of {inside}") from None
        # of the archive: what its directory says about the entry may be made up
        check_expansion(origin, entry.file_size, path.stat().st_size)
        with archive.open(entry) as stream:
            dtype, shape, fortran = read_header(stream, origin)  # type: ignore[arg-type]
            need_bytes(origin, entry.file_size - stream.tell(), dtype, shape)
            content = stream.read()
    # the directory of the archive may lie about the size
    need_bytes(origin, len(content), dtype, shape)
    if not content:
        return no_values(shape, dtype)
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(values) if values.ndim > 2 else values
