"""A scene or a reference by its name on the command line: GeoTIFF, ENVI, or an array in a .mat file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptrain.data.scenes import raster_files
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.sidecar import sidecar_of
from ptrain.data.sources import mat
from ptrain.data.sources.containers import listed, split_inner
from ptrain.errors import DataError


@contextmanager
def open_grid(spec: str, *, reference: bool = False) -> Iterator[Raster]:
    """Open what a value of --data names, or of --labels for a reference; raises DataError for what is no scene.

    Of a .mat file before version 7.3 the array is read whole, at most 2 GiB.
    """
    path, name = split_inner(spec)
    if not _is_mat(path):
        with raster_files.open_raster(Path(spec).expanduser()) as grid:
            yield grid
        return
    array = mat.open_array(path, name or _only(path, 2 if reference else 3))
    if len(array.shape) not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"{array.origin}: an array of shape {array.shape}; expected a cube of rows x columns x bands, or a "
            "reference of rows x columns"
        )
    height, width, bands = (*array.shape, 1)[:3]
    with array.open() as rows:
        yield Raster(
            path=path,
            origin=array.origin,
            height=height,
            width=width,
            numbers=tuple(range(bands)),
            dtype=array.dtype,
            nodata=(None,) * bands,
            block_rows=array.chunk,
            source=rows,
        )


def files_of(spec: str) -> tuple[Path, ...]:
    """Return every file that it is read from."""
    path, _ = split_inner(spec)
    if _is_mat(path):
        return (path,)
    files = raster_files.files_of(Path(spec).expanduser())
    return (*files, *(beside for file in files if (beside := sidecar_of(file)).is_file()))


def is_cube(spec: str, labels: str | None) -> bool:
    """Whether two arrays of .mat files are a cube (rows, columns, bands) and its reference (rows, columns)."""
    if labels is None or not all(_is_mat(split_inner(one)[0]) for one in (spec, labels)):
        return False
    shapes = []
    for one, dimensions in ((spec, 3), (labels, 2)):
        path, name = split_inner(one)
        variable = mat.variables(path).get(name or _likely(path, dimensions) or "")
        shapes.append(() if variable is None else variable.shape)
    return len(shapes[0]) == 3 and len(shapes[1]) == 2 and min(shapes[1]) > 1


def _is_mat(path: Path) -> bool:
    return path.suffix.lower() == ".mat"


def _only(path: Path, dimensions: int) -> str:
    found = _likely(path, dimensions)
    if found is None:
        raise DataError(
            f"{path}: holds {listed(list(mat.variables(path)))}; expected the name of one of them: {path}:NAME"
        )
    return found


def _likely(path: Path, dimensions: int) -> str | None:
    """The only variable of a file, or else the only one with as many dimensions."""
    found = mat.variables(path)
    fitting = [name for name, one in found.items() if len(one.shape) == dimensions and min(one.shape) > 1]
    likely = list(found) if len(found) == 1 else fitting
    return likely[0] if len(likely) == 1 else None
