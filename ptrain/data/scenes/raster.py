"""A raster with its georeference and classes, read window by window."""

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import gdal
from ptrain.data.scenes.sidecar import read_category_names
from ptrain.data.store.reading import quiet_stderr
from ptrain.errors import DataError

Color = tuple[int, int, int]

BLOCK_LIMIT = 256 * 2**20
"""Bytes of a block (strip or tile) as GDAL decodes it: it can only decode blocks whole."""
RATIO_LIMIT = 10_000
"""Declared bytes a byte of the file: no compression of real images comes near."""
_RATIO_FREE = 64 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """Pixels (height, width, bands) that are read window by window, and what the file says about them."""

    path: Path
    origin: str
    """For messages: the path, with the name of the array in it."""
    height: int
    width: int
    bands: int
    dtype: np.dtype[Any]
    nodata: tuple[float | None, ...]
    """A value a band that stands for no value, besides NaN."""
    crs: str | None = None
    """Coordinate reference system as WKT."""
    crs_name: str | None = None
    """The same for people, such as EPSG:32633."""
    transform: tuple[float, ...] | None = None
    """Six numbers a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f."""
    band_names: tuple[str, ...] | None = None
    class_names: dict[int, str] = field(default_factory=dict)
    """Names of the values of a class raster, where the file has them."""
    class_colors: dict[int, Color] = field(default_factory=dict)
    block_rows: int = 1
    """Rows that are decoded together."""
    source: Any = None
    """Open rasterio dataset, or a function that returns the rows start .. stop - 1 as (rows, width[, bands])."""

    def read(self, rows: range, columns: range) -> NDArray[np.generic]:
        """The pixels of a window, (rows, columns, bands). Raises DataError where the file is damaged there."""
        if callable(self.source):
            found = self.source(rows.start, rows.stop)[:, columns.start : columns.stop]
            return np.ascontiguousarray(found.reshape(len(rows), len(columns), self.bands))
        rasterio = gdal.load_rasterio()
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        try:
            with quiet_stderr():
                values = self.source.read(window=window)
        except (rasterio.errors.RasterioError, ValueError) as error:
            raise DataError(
                f"{self.origin}: rows {rows.start} to {rows.stop - 1} cannot be read "
                f"({gdal.reason(error, self.path)}); the file is truncated or damaged: fetch or write it again"
            ) from None
        return np.ascontiguousarray(np.moveaxis(values, 0, -1))


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a GeoTIFF or ENVI file; raises DataError for other files and for what cannot be trained on."""
    with gdal.opened(path) as dataset:
        pixels, _ = gdal.find(path)
        _check(pixels, dataset)
        georeferenced = dataset.crs is not None or not dataset.transform.is_identity
        yield Raster(
            path=pixels,
            origin=str(path),
            height=dataset.height,
            width=dataset.width,
            bands=dataset.count,
            dtype=np.dtype(dataset.dtypes[0]),
            nodata=tuple(dataset.nodatavals),
            crs=dataset.crs.to_wkt() if dataset.crs else None,
            crs_name=_name(dataset.crs) if dataset.crs else None,
            transform=tuple(dataset.transform)[:6] if georeferenced else None,
            band_names=_band_names(dataset),
            class_names=_class_names(pixels, dataset),
            class_colors=_class_colors(dataset),
            block_rows=dataset.block_shapes[0][0],
            source=dataset,
        )


def files_of(path: Path) -> tuple[Path, ...]:
    """Return every file that the raster is read from."""
    pixels, driver = gdal.find(path)
    header = gdal.header_of(pixels) if driver == "ENVI" else None
    return (pixels,) if header is None else (pixels, header)


def _check(path: Path, dataset: Any) -> None:
    size = f"{dataset.width} x {dataset.height} pixels of {dataset.count} bands"
    kinds = sorted(set(dataset.dtypes))
    try:
        types = [np.dtype(kind) for kind in kinds]
    except TypeError:
        types = [np.dtype(object)]
    if len(types) != 1 or types[0].kind not in "biuf" or types[0].itemsize > 8:
        raise DataError(
            f"{path}: bands of type {', '.join(kinds)}; expected integers or floats, the same for all bands: convert "
            "them, such as with gdal_translate -ot Float32"
        )
    if dataset.count < 1 or dataset.width < 1 or dataset.height < 1:
        raise DataError(f"{path}: {size}; expected at least 1 of each")
    declared = dataset.width * dataset.height * dataset.count * types[0].itemsize
    found = path.stat().st_size
    if declared > RATIO_LIMIT * found + _RATIO_FREE:
        raise DataError(
            f"{path}: declares {size}, {declared} bytes, in a file of {found} bytes; expected at most {RATIO_LIMIT} "
            "bytes a byte of the file: the header is damaged, write the file again"
        )
    rows, columns = dataset.block_shapes[0]
    interleaved = str(getattr(dataset.interleaving, "value", "")).lower() == "pixel"
    block = rows * columns * types[0].itemsize * (dataset.count if interleaved else 1)
    if block > BLOCK_LIMIT:
        raise DataError(
            f"{path}: blocks of {columns} x {rows} pixels take {block} bytes each; expected at most {BLOCK_LIMIT}: "
            "write it in tiles, with gdal_translate -co TILED=YES"
        )


def _band_names(dataset: Any) -> tuple[str, ...] | None:
    try:
        names = tuple(dataset.descriptions)
    except UnicodeDecodeError:  # of a damaged file; names are for people, the bands have numbers
        return None
    return names if all(names) else None


def _name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())[:60]


def _class_names(path: Path, dataset: Any) -> dict[int, str]:
    """The names in the band's tags CLASS_<value>, in the ENVI header, or in the .aux.xml beside the file."""
    tags = dataset.tags(1)
    names = {int(key[6:]): str(value) for key, value in tags.items() if re.fullmatch(r"CLASS_\d{1,5}", key)}
    if names:
        return names
    listed = dataset.tags(ns="ENVI").get("class_names")
    if listed:
        return dict(enumerate(name.strip() for name in listed.strip("{} \n").split(",")))
    return dict(enumerate(read_category_names(path)))


def _class_colors(dataset: Any) -> dict[int, Color]:
    try:
        table = dataset.colormap(1)
    except ValueError:  # none there
        return {}
    return {int(value): (int(color[0]), int(color[1]), int(color[2])) for value, color in table.items()}


def same_transform(first: tuple[float, ...], second: tuple[float, ...], width: int, height: int) -> bool:
    """Whether two transforms put all corners of an image in the same place, within a hundredth of a pixel."""
    pixel = math.sqrt(abs(first[0] * first[4] - first[1] * first[3])) or 1.0
    a, b, c, d, e, f = (one - other for one, other in zip(first, second, strict=True))
    corners = itertools.product((0, width), (0, height))
    return all(max(abs(a * x + b * y + c), abs(d * x + e * y + f)) <= pixel / 100 for x, y in corners)
