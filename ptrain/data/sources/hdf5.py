"""HDF5 files by h5py: a data set of features, a data set of labels, or a group with both under the usual names.

Links to other files, external storage, virtual data sets, and types of variable length are refused: reading them would
read other files or run through the heap of a file that may be damaged.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources import arrays
from ptrain.data.sources.arrays import READ_BYTES, Array, Rows, find_features, find_names, partner, split_inner
from ptrain.data.store.reading import check_expansion, decoding, need_content, need_package, reading
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

KIND = "an HDF5 file"
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
_LINKS = 16  # soft links on the way to a data set
_NAMES = 10_000  # entries of a group that are looked at


def open_hdf5(spec: str, request: Request) -> Stream:
    """Return the stream of FILE, FILE:/GROUP or FILE:/GROUP/FEATURES.

    --labels is FILE:/GROUP/LABELS, in this or another file; without it labels are found by name beside the features.
    A group or file may hold its own test split, and the data set ``groups``. Memory: one read of at most 64 MiB and
    one chunk of at most 64 MiB. Raises DataError for everything else.
    """
    labels, unlabelled = request.config.labels, not request.labelled
    path, inner = split_inner(spec)
    names = _find(path, inner, labels is not None or unlabelled, unlabelled)
    features, found_labels, test_features, test_labels, groups = (
        None if name is None else open_array(path, name) for name in names
    )
    assert features is not None
    files = [path]
    if labels is not None:
        labels_path, labels_inner = split_inner(labels)
        if not labels_inner:
            labels_path, labels_inner = labels_path, _only(labels_path)
        found_labels = open_array(labels_path, labels_inner)
        files += [labels_path] if labels_path != path else []
    test = (test_features, test_labels) if test_features is not None and test_labels is not None else None
    return arrays.to_stream(
        features,
        None if unlabelled else found_labels,
        name=f"hdf5:{spec}",
        files=tuple(files),
        test=None if unlabelled else test,
        groups=None if unlabelled else groups,
        options={"format": "hdf5", "names": names, "labels": labels and split_inner(labels)[1], "zeros": unlabelled},
        in_pieces=True,
    )


def open_array(path: Path, name: str) -> Array:
    """Return a data set of a file, checked, to be read by rows."""
    origin = f"{path}:/{name}"
    with opened(path) as file, decoding(origin, KIND):
        dataset = resolve(file, name, str(path))
        check_dataset(dataset, origin, path.stat().st_size)
        chunk = 1 if dataset.chunks is None else dataset.chunks[0]
        how = partial(_rows, path, name, origin)
        return Array(origin=origin, shape=dataset.shape, dtype=dataset.dtype, open=how, chunk=chunk)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the h5py file of a path; raises DataError where it is none."""
    need_content(path, KIND)
    h5py = need_package("h5py", str(path))
    with reading(path, KIND), path.open("rb"):
        pass  # h5py's own message about a missing permission is three lines long
    with decoding(str(path), KIND):
        # locks fail on many parallel file systems, and nothing is written here
        file = h5py.File(path, "r", locking=False)
    try:
        yield file
    finally:
        with decoding(str(path), KIND):
            file.close()


@contextmanager
def _rows(path: Path, name: str, origin: str) -> Iterator[Rows]:
    with opened(path) as file:
        with decoding(origin, KIND):
            dataset = resolve(file, name, str(path))
            check_dataset(dataset, origin, path.stat().st_size)

        def read(start: int, stop: int) -> NDArray[np.generic]:
            with decoding(f"{origin}, samples {start} to {stop - 1}", KIND):
                return dataset[start:stop]  # type: ignore[no-any-return]

        yield read


def resolve(file: Any, name: str, origin: str) -> Any:
    """Return the object of a name, link by link; raises DataError at a link that leaves the file."""
    h5py = need_package("h5py", origin)
    node, steps, links = file, [step for step in name.split("/") if step], 0
    while steps:
        step = steps.pop(0)
        link = node.get(step, getlink=True) if _has_link(node, step) else None
        if link is None:
            inside = arrays.listed(list_names(node)) if isinstance(node, h5py.Group) else "a data set"
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


def _has_link(node: Any, name: str) -> bool:
    # unlike "name in group" this does not follow the link
    return hasattr(node, "keys") and bool(node.id.links.exists(name.encode()))


def is_plain(group: Any, name: str) -> bool:
    """Return whether a name is an object of this file, not a link to another name or file."""
    h5py = need_package("h5py", name)
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def list_names(group: Any) -> list[str]:
    """Return the names in a group, the first ten thousand; none for a data set."""
    if not hasattr(group, "keys"):
        return []
    return [name for name, _ in zip(group.keys(), range(_NAMES), strict=False)]


def check_dataset(dataset: Any, origin: str, file_size: int) -> None:
    """Raise DataError unless this is a data set whose values are in this file, as many as it declares."""
    h5py = need_package("h5py", origin)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{origin}: is no data set; expected one of numbers: name the one in it")
    if dataset.is_virtual:
        raise DataError(
            f"{origin}: is a virtual data set, whose values are in other files; expected the values: copy them with "
            "h5repack"
        )
    if dataset.external:
        raise DataError(f"{origin}: has external storage in other files; expected the values: copy them with h5repack")
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
    if dataset.chunks is not None:
        _check_chunks(dataset, origin)


def _check_chunks(dataset: Any, origin: str) -> None:
    h5py = need_package("h5py", origin)
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size > READ_BYTES:
        raise DataError(
            f"{origin}: chunks of {size} bytes, each of which is unpacked whole; expected at most {READ_BYTES}: "
            "write it with smaller chunks (h5repack -l)"
        )
    created = dataset.id.get_create_plist()
    for number in range(created.get_nfilters()):
        code, _, _, filter_name = created.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            shown = filter_name.decode("utf-8", "replace") or "unknown"
            raise DataError(
                f"{origin}: compressed by the filter {code} ({shown}), which is not installed; expected gzip or lzf: "
                "convert it with h5repack -f GZIP=4"
            )


def _find(path: Path, inner: str, labels_given: bool, unlabelled: bool) -> tuple[str | None, ...]:
    """Return the names of features, labels, test features, test labels and groups; None for what is not there."""
    h5py = need_package("h5py", str(path))
    with opened(path) as file, decoding(str(path), KIND):
        node = resolve(file, inner, str(path))
        if isinstance(node, h5py.Group):
            return _find_in_group(file, inner, path, labels_given, unlabelled)
        if labels_given:
            return (inner, None, None, None, None)
        group, _, last = inner.rpartition("/")
        names = list_names(resolve(file, group, str(path)))
    found = partner(last, names)
    if found is None:
        raise DataError(
            f"{path}:/{inner}: features without labels; expected --labels {path}:/{group + '/' * bool(group)}NAME"
        )
    return (inner, _join(group, found), None, None, _join(group, arrays.GROUPS) if arrays.GROUPS in names else None)


def _find_in_group(file: Any, inner: str, path: Path, labels_given: bool, unlabelled: bool) -> tuple[str | None, ...]:
    names, origin = list_names(resolve(file, inner, str(path))), f"{path}:/{inner}"
    if labels_given:
        found = (find_features(names, origin), None, None, None)
    elif {"train", "test"} <= set(names):
        parts = {
            part: find_names(list_names(resolve(file, _join(inner, part), str(path))), f"{origin}/{part}")
            for part in ("train", "test")
        }
        found = tuple(
            f"{part}/{name}" for part in ("train", "test") for name in (parts[part].features, parts[part].labels)
        )  # type: ignore[assignment]
    else:
        pair = find_names(names, origin)
        found = (pair.features, pair.labels, pair.test_features, pair.test_labels)  # type: ignore[assignment]
    groups = arrays.GROUPS if arrays.GROUPS in names and not unlabelled else None
    return tuple(None if name is None else _join(inner, name) for name in (*found, groups))


def _join(group: str, name: str) -> str:
    return f"{group}/{name}".strip("/")


def _only(path: Path) -> str:
    """Return the name of the labels in a file that is given without one."""
    with opened(path) as file, decoding(str(path), KIND):
        names = list_names(file)
    name = next((y for _, y in arrays.PAIRS if y in names), names[0] if len(names) == 1 else None)
    if name is None:
        raise DataError(f"{path}: holds {arrays.listed(names)}; expected --labels {path}:/NAME")
    return name
