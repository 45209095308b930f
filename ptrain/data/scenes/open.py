"""A scene or a reference by its name on the command line: GeoTIFF, ENVI, or an array in a .mat file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptrain.data.scenes import raster_files
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.sidecar import sidecar_of
from ptrain.data.sources import mat
from ptrain.data.sources.containers import split_inner
from ptrain.data.sources.names import listed
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


def cube_of(spec: str, labels: str | None) -> tuple[str, str] | None:
    """Cube and reference by name, where two arrays of .mat files are such: (rows, columns, bands) and (rows, columns).

    Of a file with several arrays it is the only one with so many dimensions. Raises DataError where the bands are the
    first dimension of the cube.
    """
    if labels is None or not all(_is_mat(split_inner(one)[0]) for one in (spec, labels)):
        return None
    cube, reference = _grid(spec, 3), _grid(labels, 2)
    if cube is None or reference is None:
        return None
    sides, pixels = cube[1], reference[1]
    if sides[:2] != pixels and sides[1:] == pixels:
        raise DataError(
            f"{cube[0]}: an array of shape {sides} with a reference of {pixels}; expected rows x columns x bands: "
            "bring the bands to the end, with permute(x, [2 3 1]) or numpy.moveaxis(x, 0, -1)"
        )
    if sides[:2] != pixels and pixels[0] in (sides[0], sides[-1]):  # images and a column a class
        return None
    return cube[0], reference[0]


def _grid(spec: str, dimensions: int) -> tuple[str, tuple[int, ...]] | None:
    """Name and shape of an array with so many dimensions, none of length 1: the one that is named, or the only one."""
    path, name = split_inner(spec)
    there = {name: mat.variables(path).get(name)} if name else mat.variables(path)
    found = [
        (f"{path}:{variable.name}", variable.shape)
        for variable in there.values()
        if variable is not None and len(variable.shape) == dimensions and min(variable.shape) > 1
    ]
    return found[0] if len(found) == 1 else None


def _is_mat(path: Path) -> bool:
    return path.suffix.lower() == ".mat"


def _only(path: Path, dimensions: int) -> str:
    found = list(mat.variables(path))
    likely = _grid(str(path), dimensions)
    if len(found) != 1 and likely is None:
        raise DataError(f"{path}: holds {listed(found)}; expected the name of one of them: {path}:NAME")
    return found[0] if likely is None else split_inner(likely[0])[1]
