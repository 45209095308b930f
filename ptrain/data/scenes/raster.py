"""A raster with its georeference and classes, read window by window."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import gdal
from ptrain.data.scenes.bands import Bands
from ptrain.data.scenes.place import Place
from ptrain.data.scenes.validity import Mask, lacking

Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """Pixels (height, width, bands) that are read window by window, and what the file says about them."""

    path: Path
    origin: str
    """For messages: the path, with the name of the array in it."""
    height: int
    width: int
    numbers: tuple[int, ...]
    """Which bands of the file, from 0: neither alpha nor bad ones."""
    dtype: np.dtype[Any]
    """Of the values, with scale and offset."""
    nodata: tuple[float | None, ...]
    """A stored value a band that stands for no value, besides NaN."""
    scaling: NDArray[np.float64] | None = None
    """Scale and offset a band, (2, bands), by which stored numbers become values."""
    masked: Mask | None = None
    identity: Bands = field(default_factory=Bands)
    """What the file calls its bands."""
    place: Place = field(default_factory=Place)
    class_names: dict[int, str] = field(default_factory=dict)
    """Names of the values of a class raster, where the file has them."""
    class_colors: dict[int, Color] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What people should know of how it is read."""
    warnings: tuple[str, ...] = ()
    """What may be wrong with it."""
    block_rows: int = 1
    """Rows that are decoded together."""
    source: Any = None
    """Open rasterio dataset, or a function that returns the rows start .. stop - 1 as (rows, width[, bands])."""

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.numbers)

    @property
    def names(self) -> dict[int, str]:
        """Names of values, without those that are empty."""
        return {value: name.strip() for value, name in self.class_names.items() if name.strip()}

    @property
    def declares_nothing(self) -> bool:
        """Whether the file says by nodata or a mask which pixels have no value."""
        return self.nodata[0] is not None or self.masked is not None

    def select(self, order: Sequence[int]) -> "Raster":
        """The same raster with some of its bands, in this order."""
        return replace(
            self,
            numbers=tuple(self.numbers[band] for band in order),
            nodata=tuple(self.nodata[band] for band in order),
            scaling=None if self.scaling is None else self.scaling[:, list(order)],
            identity=self.identity.select(order),
        )

    def stored(self, rows: range, columns: range) -> NDArray[np.generic]:
        """What the file has in a window, (rows, columns, bands). Raises DataError where it is damaged there."""
        if callable(self.source):
            found = self.source(rows.start, rows.stop)[:, columns.start : columns.stop]
            found = found.reshape(len(rows), len(columns), -1)
            whole = self.numbers == tuple(range(found.shape[2]))
            return np.ascontiguousarray(found if whole else found[:, :, list(self.numbers)])
        values = gdal.read(self.source, self.path, rows, columns, self.numbers)
        return np.ascontiguousarray(np.moveaxis(values, 0, -1))

    def read(self, rows: range, columns: range) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """The values of a window, (rows, columns, bands), and why some have none, (rows, columns): see ``validity``."""
        stored = values = self.stored(rows, columns)
        if self.scaling is not None:
            # in float64: a large offset would take the last digits of a small number
            with np.errstate(over="ignore", invalid="ignore"):
                values = (stored.astype(np.float64) * self.scaling[0] + self.scaling[1]).astype(self.dtype)
        masked = None if self.masked is None else self.masked(rows, columns)
        return values, lacking(stored, values, self.nodata, masked)
