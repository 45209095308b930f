"""A scene or a reference by its name on the command line: GeoTIFF, ENVI, or an array in a .mat file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptrain.data.scenes import raster
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.sidecar import sidecar_of

EXTENSIONS = (".tif", ".tiff", ".hdr", ".bsq", ".bil", ".bip")
"""What is a scene by its name; scene:PATH says it of other names, such as ENVI's .img and .dat."""


@contextmanager
def open_grid(spec: str) -> Iterator[Raster]:
    """Open what a value of --data or --labels names. Raises DataError for what is no scene."""
    with raster.open_raster(Path(spec).expanduser()) as grid:
        yield grid


def files_of(spec: str) -> tuple[Path, ...]:
    """Return every file that it is read from."""
    files = raster.files_of(Path(spec).expanduser())
    return (*files, *(beside for path in files if (beside := sidecar_of(path)).is_file()))
