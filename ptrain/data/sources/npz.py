""".npz files of numpy. Pickled objects are never read."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Samples, Source
from ptrain.data.sources.files import need_content, no_values, reading
from ptrain.data.sources.npy import need_bytes, read_header
from ptrain.data.splits import make_samples
from ptrain.errors import DataError

_KIND = "a .npz file"
_PAIRS = [("features", "labels"), ("x", "y"), ("X", "y")]
_TRAIN_PAIRS = [(f"{x}_train", f"{y}_train") for x, y in _PAIRS] + [(f"train_{x}", f"train_{y}") for x, y in _PAIRS]
_FEATURES = ("features", "x", "X", "x_test", "X_test")
_EXPECTED = "features and labels, x and y, X and y, or x_train, y_train, x_test and y_test"


def load(path: Path) -> Source:
    """Return the samples of the arrays features and labels, x and y, or x_train, y_train, ...."""
    with _open(path) as (archive, names):
        pair = next((pair for pair in _TRAIN_PAIRS + _PAIRS if names.issuperset(pair)), None)
        if pair is None:
            raise DataError(f"{path}: holds {_listed(names)}; expected {_EXPECTED}: rename them")
        train, image_shape = _samples(archive, path, pair)
        test_pair = (pair[0].replace("train", "test"), pair[1].replace("train", "test"))
        given = [name for name in test_pair if name != pair[0] and name != pair[1] and name in names]
        if len(given) == 1:
            raise DataError(f"{path}: holds {given[0]} alone; expected {' and '.join(test_pair)}: add the other one")
        test = _samples(archive, path, test_pair)[0] if given else None
    return Source(name=f"npz:{path}", description=f"arrays of {path}", train=train, test=test, image_shape=image_shape)


def read_features(path: Path) -> NDArray[np.generic]:
    """Return the features alone: the array features, x, X, x_test or X_test, the first of these that is there."""
    with _open(path) as (archive, names):
        name = next((name for name in _FEATURES if name in names), None)
        if name is None:
            raise DataError(f"{path}: holds {_listed(names)}; expected {' or '.join(_FEATURES)}: rename the array")
        return _read(archive, path, name)


@contextmanager
def _open(path: Path) -> Iterator[tuple[zipfile.ZipFile, set[str]]]:
    """Yield the archive and the names of its arrays."""
    need_content(path, _KIND)
    with reading(path, _KIND), zipfile.ZipFile(path) as archive:
        yield archive, {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no arrays"


def _samples(archive: zipfile.ZipFile, path: Path, pair: tuple[str, str]) -> tuple[Samples, tuple[int, ...] | None]:
    features, labels = (_read(archive, path, name) for name in pair)
    return make_samples(features, labels, f"{path}, array {pair[0]}", f"{path}, array {pair[1]}")


def _read(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[np.generic]:
    entry = archive.getinfo(f"{name}.npy")
    origin = f"{path}, array {name}"
    with reading(path, _KIND), archive.open(entry) as stream:
        dtype, shape, fortran = read_header(stream, origin)  # type: ignore[arg-type]
        need_bytes(origin, entry.file_size - stream.tell(), dtype, shape)
        content = stream.read()
    # the directory of the archive may lie about the size
    need_bytes(origin, len(content), dtype, shape)
    if not content:
        return no_values(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
