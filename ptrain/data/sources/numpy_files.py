""".npy and .npz files of numpy. Pickled objects are never read."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Samples, Source, make_samples
from ptrain.data.sources.containers import find_features, find_names
from ptrain.data.store import npy
from ptrain.data.store.npy import need_bytes, read_header
from ptrain.data.store.reading import check_expansion, decoding, need_content, no_values, reading
from ptrain.data.store.stream import Request
from ptrain.errors import DataError

_KIND = "a .npz file"


def open_npy(spec: str, request: Request) -> Source:
    """Samples of a file of features (N, ...), mapped; ``--labels`` is a file of labels (N,) or (N, 1)."""
    path, labels = Path(spec).expanduser(), request.config.labels
    if not request.labelled:
        return _unlabelled("npy", path, npy.read(path))
    if labels is None:
        raise DataError(f"{path}: features without labels; expected --labels FILE.npy with one number a sample")
    labels_path = Path(labels).expanduser()
    samples, image_shape = make_samples(npy.read(path), npy.read(labels_path), str(path), str(labels_path))
    return Source(name=f"npy:{path}", description=f"arrays of {path}", train=samples, image_shape=image_shape)


def open_npz(spec: str, request: Request) -> Source:
    """Samples of the arrays features and labels, x and y, or x_train, y_train, ...; without labels the features alone.

    Memory: the arrays, unpacked.
    """
    path = Path(spec).expanduser()
    need_content(path, _KIND)
    with decoding(str(path), _KIND), reading(path, _KIND), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        if not request.labelled:
            return _unlabelled("npz", path, _read(archive, path, find_features(names, str(path))))
        found = find_names(names, str(path))
        train, image_shape = _samples(archive, path, found.features, found.labels or "")
        test = None
        if found.test_features is not None and found.test_labels is not None:
            test = _samples(archive, path, found.test_features, found.test_labels)[0]
    return Source(name=f"npz:{path}", description=f"arrays of {path}", train=train, test=test, image_shape=image_shape)


def _unlabelled(kind: str, path: Path, features: NDArray[np.generic]) -> Source:
    """Features to predict; a single number, which has no length, is refused by ``make_samples``."""
    samples, _ = make_samples(features, np.zeros(len(features) if features.ndim else 0, np.int64), str(path))
    return Source(name=f"{kind}:{path}", description=f"arrays of {path}", train=samples)


def _samples(
    archive: zipfile.ZipFile, path: Path, features: str, labels: str
) -> tuple[Samples, tuple[int, ...] | None]:
    x, y = (_read(archive, path, name) for name in (features, labels))
    return make_samples(x, y, f"{path}, array {features}", f"{path}, array {labels}")


def _read(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[np.generic]:
    entry = archive.getinfo(f"{name}.npy")
    origin = f"{path}, array {name}"
    # of the archive: what its directory says about the entry may be made up
    check_expansion(origin, entry.file_size, path.stat().st_size)
    with decoding(origin, _KIND), reading(path, _KIND), archive.open(entry) as stream:
        dtype, shape, fortran = read_header(stream, origin)  # type: ignore[arg-type]
        need_bytes(origin, entry.file_size - stream.tell(), dtype, shape)
        content = stream.read()
    # the directory of the archive may lie about the size
    need_bytes(origin, len(content), dtype, shape)
    if not content:
        return no_values(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
