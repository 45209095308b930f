"""The classes of a scene: the values of the reference that become labels 0, 1, 2, ..., their names and colours."""

import colorsys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.raster import Color, Raster
from ptrain.data.scenes.unlabelled import Unlabelled
from ptrain.data.scenes.windows import windows
from ptrain.errors import DataError

LARGEST = 2**32 - 1
"""Largest value of a class: a map has one, two or four bytes a pixel."""
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

    @property
    def in_map(self) -> tuple[np.dtype[Any], int]:
        """The type of a map, and its value for a pixel without a class: 0 unless that is a class, else the largest."""
        has_zero = 0 in self.values
        size = next(size for size in (1, 2, 4) if max(self.values) < 256**size - has_zero)
        return np.dtype(f"u{size}"), 256**size - 1 if has_zero else 0

    def numbering(self, reference: Raster) -> tuple[dict[int, int], list[str]]:
        """The label of each value of another reference, and what should be said of them.

        Where both references name their classes a name decides, else the value.
        """
        own = {value: label for label, value in enumerate(self.values)}
        pairs = zip(self.values, self.names, strict=True)
        named = {name.casefold(): own[value] for value, name in pairs if name != str(value)}
        theirs = {value: name for value, name in reference.names.items() if name != str(value)}
        if not named or not theirs:
            return own, []
        found = {
            value: named[key]
            for value, name in theirs.items()
            for key in (name.casefold(), _numbered(name, value).casefold())  # the latter of two classes of one name
            if key in named
        }
        taken = {*found.values()}
        for value, label in own.items():
            nameless = value not in theirs or self.names[label] == str(value)
            if value not in found and label not in taken and nameless:
                found[value] = label
        moved = [f"{value} is {self.names[label]}" for value, label in found.items() if own.get(value) != label]
        told = f"{reference.origin}: classes are matched by name, not by number: {', '.join(moved[:12])}"
        return found, [told] if moved else []


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reference holds."""

    classes: Classes
    unlabelled: frozenset[int]
    """Values that mean no class."""
    labelled: int
    """Pixels with a class."""
    kept: int
    """Those of them that may be samples."""
    left_out: dict[int | None, int]
    """Pixels without one: of each value that means no class, and at None those without a value."""


def find_classes(reference: Raster, unlabelled: Unlabelled, keep: Callable[[range, range], NDArray[np.bool_]]) -> Found:
    """The classes that occur in a reference, in the order of their values; reads it once, in windows.

    ``keep`` tells which pixels of a window, (rows, columns), may be samples. Raises DataError where there is no class,
    and for values that are not whole or out of range.
    """
    counts: Counter[int] = Counter()
    kept: Counter[int] = Counter()
    size = reference.dtype.itemsize
    for rows, columns in windows(reference.height, reference.width, size, reference.block_rows, _WINDOW_BYTES):
        values, valid = read_labels(reference, rows, columns, unlabelled)
        counts.update(_counted(values[valid]))
        kept.update(_counted(values[valid & keep(rows, columns)]))
        if len(counts) > MANY:
            raise DataError(
                f"{reference.origin}: more than {MANY} different values; expected a number for each class: is this the "
                "reference and not the scene?"
            )
    nothing = unlabelled.among(counts)
    values_of = tuple(sorted({*counts} - nothing))
    if not values_of:
        what = " or ".join([*map(str, sorted(nothing & {*counts})), "without a value"])
        raise DataError(
            f"{reference.origin}: no labelled pixel, all are {what}; expected a number for each class: --unlabelled "
            "says which numbers mean no class"
        )
    missing = reference.height * reference.width - counts.total()
    return Found(
        classes=_described(reference, values_of),
        unlabelled=frozenset(nothing),
        labelled=sum(counts[value] for value in values_of),
        kept=sum(kept[value] for value in values_of),
        left_out={value: counts[value] for value in sorted(nothing & {*counts})} | ({None: missing} if missing else {}),
    )


def _counted(values: NDArray[np.integer[Any]]) -> dict[int, int]:
    """How often each value occurs."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:  # many times faster than to sort them
        counts = np.bincount(values)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _described(reference: Raster, values: tuple[int, ...]) -> Classes:
    names = [reference.names.get(value, str(value)) for value in values]
    if len(set(names)) < len(names):
        names = [_numbered(name, value) for name, value in zip(names, values, strict=True)]
    colors = [reference.class_colors.get(value, (0, 0, 0)) for value in values]
    if len(set(colors)) < len(colors):
        colors = list(default_colors(len(values)))
    return Classes(values=values, names=tuple(names), colors=tuple(colors))


def _numbered(name: str, value: int) -> str:
    return f"{name} ({value})"


def read_labels(
    reference: Raster, rows: range, columns: range, unlabelled: Unlabelled
) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]:
    """The values of a window as whole numbers, and which of them the file declares to be there. Both: (rows, columns).

    Raises DataError for values that cannot be numbers of classes, unless they are known to mean no class.
    """
    stored, why = replace(reference, scaling=None).read(rows, columns)  # a number of a class has no scale
    found, valid = stored[:, :, 0], why == 0
    if found.dtype.kind in "ub" and found.dtype.itemsize <= 4:
        return found.view(np.uint8) if found.dtype.kind == "b" else found, valid  # type: ignore[return-value]
    with np.errstate(invalid="ignore"):
        values = np.where(valid, found, 0).astype(np.int64)
        wrong = valid & ((values != found) | (values < 0) | (values > LARGEST))
    wrong &= ~np.isin(values, sorted(unlabelled.given))
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise DataError(
            f"{reference.origin}: value {found[row, column]} in row {rows[row]}, column {columns[column]}; expected "
            f"whole numbers of classes from 0 to {LARGEST}; --unlabelled says which other numbers mean no class"
        )
    return values, valid


def default_colors(number: int) -> tuple[Color, ...]:
    """Colours for this many classes; beyond the palette they are spread over the hues by the golden ratio."""
    more = (
        colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.55 + 0.4 * (index % 2), 0.85)
        for index in range(number - len(_PALETTE))
    )
    return (*_PALETTE[:number], *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in more))
