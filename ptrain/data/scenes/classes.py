"""The classes of a scene: the values of the reference that become labels 0, 1, 2, ..., their names and colours."""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.raster import Color, Raster
from ptrain.data.scenes.windows import windows
from ptrain.errors import DataError

LARGEST = 65535
"""Largest value of a class: a map has one or two bytes a pixel."""
MANY = 1000
"""More classes than this are no classes."""
_WINDOW_BYTES = 16 * 2**20
_PALETTE = (
    (31, 120, 180), (178, 223, 138), (51, 160, 44), (251, 154, 153), (227, 26, 28), (253, 191, 111), (255, 127, 0),
    (106, 61, 154), (202, 178, 214), (177, 89, 40), (255, 237, 111), (27, 158, 119), (166, 206, 227), (231, 41, 138),
    (102, 102, 102), (166, 118, 29),
)  # fmt: skip
"""Colours of neighbouring numbers that are easy to tell apart (ColorBrewer's Paired and Dark2, in another order)."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Class i of the network is ``values[i]`` in the reference and in a map."""

    values: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[Color, ...]

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> "Classes":
        """What ``to_schema`` described."""
        return cls(
            values=tuple(schema["class_values"]),
            names=tuple(schema["class_names"]),
            colors=tuple((red, green, blue) for red, green, blue in schema["class_colors"]),
        )

    def to_schema(self) -> dict[str, Any]:
        """The classes as JSON has them."""
        return {
            "class_values": list(self.values),
            "class_names": list(self.names),
            "class_colors": [list(color) for color in self.colors],
        }


def find_classes(reference: Raster, keep: Callable[[range, range], NDArray[np.bool_]]) -> tuple[Classes, int, int]:
    """The classes that occur in a reference, in the order of their values; reads it once, in windows.

    Also returns the number of labelled pixels, and of those that ``keep`` lets through: it tells which pixels of a
    window, (rows, columns), may be samples. Raises DataError where there is no class, and for values that are not whole
    or not from 1 to 65535.
    """
    found: set[int] = set()
    num_labelled = num_kept = 0
    size = reference.dtype.itemsize
    for rows, columns in windows(reference.height, reference.width, size, reference.block_rows, _WINDOW_BYTES):
        labels = labelled_values(reference, rows, columns)
        labelled = labels > 0
        found.update(np.unique(labels[labelled]).tolist())
        num_labelled += int(labelled.sum())
        num_kept += int((labelled & keep(rows, columns)).sum())
        if len(found) > MANY:
            raise DataError(
                f"{reference.origin}: more than {MANY} different values; expected class numbers 1, 2, 3, ... and 0 "
                "where there is no class: is this the reference and not the scene?"
            )
    if not found:
        raise DataError(
            f"{reference.origin}: no labelled pixel, all are 0 or nodata; expected class numbers 1, 2, 3, ..."
        )
    values = tuple(sorted(found))
    names = [reference.class_names.get(value, "").strip() or str(value) for value in values]
    if len(set(names)) < len(names):
        names = [f"{name} ({value})" for name, value in zip(names, values, strict=True)]
    colors = [reference.class_colors.get(value, (0, 0, 0)) for value in values]
    if len(set(colors)) < len(colors):
        colors = list(default_colors(len(values)))
    return Classes(values=values, names=tuple(names), colors=tuple(colors)), num_labelled, num_kept


def labelled_values(reference: Raster, rows: range, columns: range) -> NDArray[np.integer[Any]]:
    """The class values of a window, 0 where there is no class. (rows, columns)."""
    stored = reference.read(rows, columns)[:, :, 0]
    nodata = reference.nodata[0]
    if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
        known: NDArray[np.unsignedinteger[Any]] = stored  # type: ignore[assignment]
        return np.where(known == nodata, known.dtype.type(0), known) if nodata else known
    unlabelled = stored == 0
    if nodata is not None:
        unlabelled |= stored == nodata
    if stored.dtype.kind == "f":
        unlabelled |= np.isnan(stored)
    with np.errstate(invalid="ignore"):
        values = np.where(unlabelled, 0, stored).astype(np.int64)
        wrong = (values != stored) | (values < 0) | (values > LARGEST)
    wrong &= ~unlabelled
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise DataError(
            f"{reference.origin}: value {stored[row, column]} in row {rows[row]}, column {columns[column]}; expected "
            f"class numbers from 1 to {LARGEST}, and 0 or the file's nodata value where there is no class"
        )
    return values


def default_colors(number: int) -> tuple[Color, ...]:
    """Colours for this many classes; beyond the palette they are spread over the hues by the golden ratio."""
    more = (
        colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.55 + 0.4 * (index % 2), 0.85)
        for index in range(number - len(_PALETTE))
    )
    return (*_PALETTE[:number], *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in more))
