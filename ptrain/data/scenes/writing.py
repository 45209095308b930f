"""Writing GeoTIFFs: tiles, compression, georeference, classes; under a temporary name until they are whole."""

import contextlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import gdal
from ptrain.data.scenes.classes import Classes
from ptrain.data.scenes.place import Place
from ptrain.data.scenes.sidecar import category_names_xml, sidecar_of
from ptrain.errors import DataError
from ptrain.files import discard, publish, temporary_name, write_file

LARGEST_LISTED = 65535
"""The sidecar lists the names of all values up to the largest."""
TILE = 256
"""Pixels on a side of a tile."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Size of an image and where it is on the ground."""

    height: int
    width: int
    place: Place


class TiffWriter:
    """A GeoTIFF that is written from top to bottom, whole rows of tiles at a time."""

    def __init__(self, path: Path, grid: Grid, *, bands: int, dtype: Any, nodata: float | None) -> None:
        """Create the file under a temporary name. Raises DataError where it cannot be."""
        self.path, self.temporary = path, temporary_name(path)
        self._rasterio = gdal.load_rasterio()
        self._sums: list[tuple[range, int]] = []
        try:
            # GDAL's own words for a folder that is missing or read-only say nothing about the folder
            self.temporary.touch()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: cannot be written ({getattr(error, 'strerror', error)}); expected a folder that exists and "
                "can be written to"
            ) from None
        with self._writing():
            self._file = gdal.open_quietly(
                self.temporary,
                "w",
                driver="GTiff",
                height=grid.height,
                width=grid.width,
                count=bands,
                dtype=np.dtype(dtype).name,
                nodata=nodata,
                tiled=True,
                blockxsize=TILE,
                blockysize=TILE,
                compress="deflate",
                # differences of neighbours compress better; of one band of classes they do not
                predictor=2 if bands > 1 and np.dtype(dtype).kind in "iu" else 1,
                bigtiff="if_safer",  # compressed size is not known before: 4 GiB would be the end of a plain TIFF
                **grid.place.options,
            )

    def describe(self, classes: Classes) -> None:
        """Store names and colours of the classes: a colour table, and tags CLASS_<value> of the band."""
        dtype, nothing = classes.in_map
        colors = {value: (*color, 255) for value, color in zip(classes.values, classes.colors, strict=True)}
        with self._writing():
            if dtype.itemsize <= 2:  # no wider type can have a colour table
                self._file.write_colormap(1, {nothing: (0, 0, 0, 0)} | colors)
            self._file.update_tags(1, **{f"CLASS_{v}": n for v, n in zip(classes.values, classes.names, strict=True)})

    def name_bands(self, names: list[str]) -> None:
        """Store a description of every band."""
        with self._writing():
            self._file.descriptions = tuple(names)

    def write(self, top: int, pixels: NDArray[np.generic]) -> None:
        """Write rows from ``top`` on. pixels: (rows, width) or (rows, width, bands); whole tiles but at the end."""
        image = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        with self._writing():
            self._file.write(image, window=((top, top + image.shape[1]), (0, image.shape[2])))
        self._sums.append((range(top, top + image.shape[1]), _crc(image)))

    def finish(self) -> None:
        """Close the file, read it back, and give it its name; raises DataError where it is not what was written.

        GDAL writes blocks when it likes and does not report every error, such as a full disk: hence the reading back.
        """
        with self._writing():
            self._file.close()
            with gdal.open_quietly(self.temporary, driver="GTiff") as written:
                for rows, crc in self._sums:
                    if _crc(written.read(window=((rows.start, rows.stop), (0, written.width)))) != crc:
                        raise OSError("other pixels are read back than were written")
            publish(self.temporary, self.path)

    def close(self) -> None:
        """Remove what was not finished."""
        with contextlib.suppress(Exception):
            self._file.close()
        discard(self.temporary)
        discard(sidecar_of(self.temporary))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, self._rasterio.errors.RasterioError) as error:
            raise DataError(
                f"{self.path}: cannot be written ({gdal.reason(error, self.temporary)}); free space or choose another "
                "place"
            ) from None


def _crc(image: NDArray[np.generic]) -> int:
    return zlib.crc32(np.ascontiguousarray(image).reshape(-1).view(np.uint8).data)


def write_beside(path: Path, content: bytes) -> None:
    """Write a file that belongs to an image. Raises DataError where it cannot be written."""
    try:
        write_file(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free space or choose another place") from None


def write_category_names(path: Path, classes: Classes) -> None:
    """Write the names of the classes into the sidecar file, where GDAL and QGIS look for them."""
    names = dict(zip(classes.values, classes.names, strict=True))
    if max(names) > LARGEST_LISTED:
        return
    listed = [names.get(value, "") for value in range(max(classes.values) + 1)]
    write_beside(sidecar_of(path), category_names_xml(listed))
