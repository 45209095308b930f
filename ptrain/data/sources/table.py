"""The table of sources: all that ``--data`` may name. Another format is one file with its opener, and one row here.

Openers are named as text and imported when they are needed: help, error texts and the checks of a Slurm job read this
table without numpy.
"""

import difflib
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptrain.errors import DataError

Sort = Literal["fixed", "synthetic", "named", "file", "folder"]
"""fixed: a data set with a name alone. synthetic: a name and numbers, as in blobs:seed=1. named: one of a family of
data sets, as in torchvision:CIFAR10. file and folder: what lies on a disk, as KIND:PATH or just the path."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A source of data as the command line knows it."""

    name: str
    sort: Sort
    opens: str
    """``module:function`` of the opener, which takes what stands after ``name:`` and a ``Request`` (see
    ptrain.data.store.stream). It returns a Stream, which is converted into the cache first, or a Source."""
    example: str
    """Flags that use it, for help and documents."""
    extensions: tuple[str, ...] = ()
    """Such as .csv, in lower case: a path that ends so needs no ``name:`` in front."""
    recognises: str | None = None
    """``module:function`` that says whether a folder (a Path) is of this format."""
    labels: Literal["none", "optional", "required"] = "none"
    """Whether ``--labels`` goes with it."""
    columns: bool = False
    """Whether it is a table, whose columns are chosen by --target, --features, --drop and --missing."""
    may_test: bool = False
    """Whether it may be given as ``--test-data``."""
    extra: str | None = None
    """What has to be installed for it, as in pip install 'ptrain[extra]'."""


_OF = "ptrain.data.sources."
_ROWS = (
    Row(name="digits", sort="fixed", opens=f"{_OF}digits:open_digits", example="--data digits"),
    Row(
        name="fashion-mnist",
        sort="fixed",
        opens=f"{_OF}fashion_mnist:open_fashion_mnist",
        example="--data fashion-mnist",
    ),
    Row(name="or", sort="synthetic", opens=f"{_OF}synthetic:open_or", example="--data or"),
    Row(name="xor", sort="synthetic", opens=f"{_OF}synthetic:open_xor", example="--data xor:samples=1000,noise=0.1"),
    Row(
        name="spirals",
        sort="synthetic",
        opens=f"{_OF}synthetic:open_spirals",
        example="--data spirals:samples=2000,classes=3",
    ),
    Row(name="blobs", sort="synthetic", opens=f"{_OF}synthetic:open_blobs", example="--data blobs:seed=1"),
    # a folder that no other row recognises
    Row(name="idx", sort="folder", opens=f"{_OF}idx:open_idx", example="--data idx:FOLDER"),
    Row(
        name="npz",
        sort="file",
        opens=f"{_OF}numpy_files:open_npz",
        example="--data FILE.npz",
        extensions=(".npz",),
        may_test=True,
    ),
    Row(
        name="npy",
        sort="file",
        opens=f"{_OF}numpy_files:open_npy",
        example="--data FEATURES.npy --labels LABELS.npy",
        extensions=(".npy",),
        labels="required",
        may_test=True,
    ),
    Row(
        name="converted",
        sort="folder",
        opens="ptrain.data.store.converted:open_converted",
        example="--data FOLDER",
        recognises="ptrain.data.store.converted:is_converted",
        may_test=True,
    ),
    Row(
        name="torchvision",
        sort="named",
        opens=f"{_OF}torchvision_sets:open_torchvision",
        example="--data torchvision:CIFAR10",
    ),
    Row(
        name="csv",
        sort="file",
        opens=f"{_OF}tables:open_csv",
        example="--data FILE.csv --target COLUMN",
        extensions=(".csv",),
        columns=True,
        may_test=True,
        extra="data",
    ),
    Row(
        name="tsv",
        sort="file",
        opens=f"{_OF}tables:open_tsv",
        example="--data FILE.tsv --target COLUMN",
        extensions=(".tsv", ".tab"),
        columns=True,
        may_test=True,
        extra="data",
    ),
    Row(
        name="parquet",
        sort="file",
        opens=f"{_OF}tables:open_parquet",
        example="--data FILE.parquet --target COLUMN",
        extensions=(".parquet", ".pq"),
        columns=True,
        may_test=True,
        extra="data",
    ),
    Row(
        name="hdf5",
        sort="file",
        opens=f"{_OF}hdf5:open_hdf5",
        example="--data FILE.h5:/GROUP",
        extensions=(".h5", ".hdf5", ".hdf", ".he5"),
        labels="optional",
        may_test=True,
        extra="data",
    ),
    Row(
        name="mat",
        sort="file",
        opens="ptrain.data.scenes.scene:open_mat",
        example="--data FILE.mat:FEATURES --labels FILE.mat:LABELS",
        extensions=(".mat",),
        labels="optional",
        may_test=True,
    ),
    Row(
        name="zarr",
        sort="folder",
        opens=f"{_OF}zarr_arrays:open_zarr",
        example="--data FOLDER.zarr",
        extensions=(".zarr",),
        recognises=f"{_OF}zarr_arrays:is_zarr",
        labels="optional",
        may_test=True,
        extra="data",
    ),
    Row(
        name="images",
        sort="folder",
        opens=f"{_OF}image_folder:open_image_folder",
        example="--data images:FOLDER",
        recognises=f"{_OF}image_folder:is_image_folder",
        may_test=True,
    ),
    Row(
        name="scene",
        sort="file",
        opens="ptrain.data.scenes.scene:open_scene",
        example="--data SCENE.tif --labels REFERENCE.tif",
        # ENVI's other extensions, such as .img and .dat, mean anything: scene:PATH says it
        extensions=(".tif", ".tiff", ".hdr", ".bsq", ".bil", ".bip"),
        labels="optional",
        may_test=True,
        extra="scenes",
    ),
)
SOURCES: dict[str, Row] = {row.name: row for row in _ROWS}
"""Every source by its name. Folders are asked in this order what they are."""


def names(*sorts: Sort) -> list[str]:
    """Names of the sources of these sorts, or of all, in the order of the table."""
    return [row.name for row in SOURCES.values() if not sorts or row.sort in sorts]


def understood() -> str:
    """What ``--data`` may be, for help and error texts."""
    return (
        f"{', '.join(names('fixed', 'synthetic'))} (with :key=value,... after a synthetic one), or one of "
        f"{', '.join(names('named', 'file', 'folder'))} as KIND:PATH, or just the folder or file"
    )


def parse(spec: str) -> tuple[Row, str]:
    """From ``--data`` to the row of the source, and its parameters or path.

    Raises DataError, with the nearest valid name and the list of what is understood, for anything else.
    """
    name, _, rest = spec.partition(":")
    if name in SOURCES:
        return SOURCES[name], rest
    row = by_extension(spec)
    if row is not None:
        return row, spec
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        return of_folder(path), spec
    near = "" if "/" in spec else hint(name, SOURCES)
    found = "a file of no format that is known here" if spec and path.exists() else "no such source, folder or file"
    raise DataError(f"--data {spec}: {found}; {near}expected {understood()}")


def by_extension(spec: str) -> Row | None:
    """The source of FILE.ext, FILE.ext:/GROUP/NAME or FILE.ext:NAME; None where no row has the extension."""
    suffixes = [Path(text).suffix.lower() for text in (spec, spec.rpartition(":")[0])]
    return next((row for suffix in suffixes for row in SOURCES.values() if suffix in row.extensions), None)


def of_folder(folder: Path) -> Row:
    """The source of a folder by what is in it; IDX files are what is expected of any other."""
    asked = (row for row in SOURCES.values() if row.recognises is not None)
    return next((row for row in asked if resolve(row.recognises or "")(folder)), SOURCES["idx"])


def file_of(spec: str) -> str | None:
    """The file or folder that a value of --data names, by its text alone; None for a source of another sort."""
    name, _, rest = spec.partition(":")
    row = SOURCES.get(name)
    path = spec if row is None else rest
    if row is None and by_extension(path) is None and os.sep not in path:
        return None
    if row is not None and row.sort not in ("file", "folder"):
        return None
    path = os.path.expanduser(path)
    outer = path.rpartition(":")[0]  # of FILE:NAME
    return outer if outer and not os.path.exists(path) else path


def resolve(reference: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names."""
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def hint(name: str, valid: Iterable[str]) -> str:
    """``did you mean NEAREST? `` or nothing, for error texts."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""
