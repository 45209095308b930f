"""The table of sources: all that ``--data`` may name. Another format is one file with its opener, and one row here.

Openers are named as text and imported when they are needed: help, error texts and the checks of a Slurm job read this
table without numpy.
"""

import difflib
import importlib
import os
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

from ptrain.errors import DataError

Sort = Literal["fixed", "synthetic", "named", "file", "folder"]
"""fixed: a data set with a name alone. synthetic: a name and numbers, as in blobs:seed=1. named: one of a family of
data sets, as in torchvision:CIFAR10. file and folder: what lies on a disk, as KIND:PATH or just the path."""


@dataclass(frozen=True)
class Row:
    """A source of data as the command line knows it."""

    name: str
    sort: Sort
    opens: str
    """``module:function`` below ptrain.data: the opener, which takes what stands after ``name:`` and a ``Request`` (see
    store/stream.py). It returns a Stream, which is converted into the cache first, or a Source."""
    example: str
    """A value of --data, and the flags that it needs."""
    extensions: tuple[str, ...] = ()
    """Such as .csv, in lower case: a path that ends so needs no ``name:`` in front."""
    _: KW_ONLY
    recognises: str | None = None
    """``module:function`` below ptrain.data that says whether a folder, or a file whose name says nothing, is of this
    format; it takes a Path."""
    labels: Literal["none", "optional", "required"] = "none"
    """Whether ``--labels`` goes with it."""
    packed: bool = False
    """Whether the file may be packed, as FILE.csv.gz is."""
    columns: bool = False
    """Whether it is a table, whose columns are chosen by --target, --features, --drop and the like."""
    missing: bool = False
    """Whether values may be missing in it, and ``--missing`` says what is done then."""

    @property
    def is_path(self) -> bool:
        """Whether a file or folder is named."""
        return self.sort in ("file", "folder")


_ROWS = (
    Row("digits", "fixed", "sources.digits:open_digits", "digits"),
    Row("fashion-mnist", "fixed", "sources.fashion_mnist:open_fashion_mnist", "fashion-mnist"),
    Row("or", "synthetic", "sources.synthetic:open_or", "or"),
    Row("xor", "synthetic", "sources.synthetic:open_xor", "xor:samples=1000,noise=0.1"),
    Row("spirals", "synthetic", "sources.synthetic:open_spirals", "spirals:samples=2000,classes=3"),
    Row("blobs", "synthetic", "sources.synthetic:open_blobs", "blobs:seed=1"),
    Row("idx", "folder", "sources.idx:open_idx", "idx:FOLDER"),
    Row("npz", "file", "sources.numpy_files:open_npz", "FILE.npz", (".npz",), labels="optional", missing=True),
    Row(
        *("npy", "file", "sources.numpy_files:open_npy", "X.npy --labels Y.npy", (".npy",)),
        labels="required",
        missing=True,
    ),
    Row("converted", "folder", "store.converted:open_converted", "FOLDER", recognises="store.converted:is_converted"),
    Row("torchvision", "named", "sources.torchvision_sets:open_torchvision", "torchvision:CIFAR10"),
    Row(
        *("csv", "file", "sources.tables:open_csv", "FILE.csv --target NAME", (".csv", ".txt")),
        packed=True,
        columns=True,
        missing=True,
    ),
    Row(
        *("tsv", "file", "sources.tables:open_tsv", "FILE.tsv --target NAME", (".tsv", ".tab")),
        packed=True,
        columns=True,
        missing=True,
    ),
    Row(
        *("parquet", "file", "sources.tables:open_parquet", "X.parquet --target NAME", (".parquet", ".pq")),
        columns=True,
        missing=True,
    ),
    Row(
        *("hdf5", "file", "sources.hdf5:open_hdf5", "FILE.h5:/GROUP", (".h5", ".hdf5", ".hdf", ".he5", ".nc")),
        labels="optional",
        missing=True,
    ),
    Row(
        *("mat", "file", "scenes.scene:open_mat", "FILE.mat:X --labels FILE.mat:Y", (".mat",)),
        labels="optional",
        missing=True,
    ),
    Row(
        *("zarr", "folder", "sources.zarr_arrays:open_zarr", "FOLDER.zarr", (".zarr",)),
        recognises="sources.zarr_arrays:is_zarr",
        labels="optional",
        missing=True,
    ),
    Row(
        *("images", "folder", "sources.image_folder:open_image_folder", "images:FOLDER"),
        (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm"),
        recognises="sources.image_folder:is_image_folder",
    ),
    Row(
        *("scene", "file", "scenes.scene:open_scene", "SCENE.tif --labels REFERENCE.tif"),
        (".tif", ".tiff", ".hdr", ".bsq", ".bil", ".bip"),
        # ENVI's other extensions, such as .img and .dat, mean anything: a header beside the file tells
        recognises="scenes.gdal:is_scene",
        labels="optional",
    ),
)
_PACKED = (".gz", ".bz2", ".zst")
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
    sort = "folder" if spec and path.is_dir() else "file" if spec and path.is_file() else None
    asked = (row for row in SOURCES.values() if row.sort == sort and row.recognises)
    found = next((row for row in asked if resolve(row.recognises or "")(path)), None)
    if found is not None or sort == "folder":  # IDX files are what is expected of a folder that nothing recognises
        return found or SOURCES["idx"], spec
    near = "" if "/" in spec else hint(name, SOURCES)
    what = "a file of no format that is known here" if spec and path.exists() else "no such source, folder or file"
    raise DataError(f"--data {spec}: {what}; {near}expected {understood()}")


def by_extension(spec: str) -> Row | None:
    """The source of FILE.ext, FILE.ext:/GROUP/NAME or FILE.ext:NAME; None where no row has the extension."""
    for path in (Path(text.lower()) for text in (spec, spec.rpartition(":")[0])):
        packed = path.suffix in _PACKED
        suffix = path.with_suffix("").suffix if packed else path.suffix
        rows = (row for row in SOURCES.values() if suffix in row.extensions and row.packed >= packed)
        if (row := next(rows, None)) is not None:
            return row
    return None


def file_of(spec: str) -> str | None:
    """The file or folder that a value of --data names, by its text alone; None for a source of another sort."""
    name, _, rest = spec.partition(":")
    row = SOURCES.get(name)
    if not (row.is_path if row else by_extension(spec) or os.sep in spec):
        return None
    path = os.path.expanduser(rest if row else spec)
    outer = path.rpartition(":")[0]  # of FILE:NAME
    return outer if outer and not os.path.exists(path) else path


def resolve(reference: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names, below ptrain.data."""
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"ptrain.data.{module}"), function)
    return found


def hint(name: str, valid: Iterable[str]) -> str:
    """``did you mean NEAREST? `` or nothing, for error texts."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""
