"""The mapped areas of classes, for the area-weighted accuracy."""

from collections.abc import Sequence
from pathlib import Path

from ptrain.errors import DataError
from ptrain.evaluation.files.lines import is_number, listing, read_lines


def read_areas(path: Path, class_names: Sequence[str]) -> list[float]:
    """The mapped area of each class, in the order of the names, from lines ``class,area``.

    A heading is allowed. Raises DataError for a class that is missing, given twice or unknown, and for no number.
    """
    areas: dict[str, float] = {}
    lines = read_lines(path, "--areas")
    for number, row in zip(lines.numbers, lines.rows, strict=True):
        if len(row) != 2:
            raise DataError(f"--areas {path}: {len(row)} cells in line {number}: expected class,area")
        name, area = row
        if not is_number(area):
            if not areas and name not in class_names:
                continue
            raise DataError(f"--areas {path}: area {area!r} of class {name}: expected a number")
        if name not in class_names:
            raise DataError(f"--areas {path}: unknown class {name}; expected {listing(class_names)}")
        if name in areas:
            raise DataError(f"--areas {path}: class {name} given twice; expected one line a class")
        areas[name] = float(area)
    missing = [name for name in class_names if name not in areas]
    if missing:
        raise DataError(f"--areas {path}: no area of {listing(missing)}; expected one line a class, 0 for none")
    return [areas[name] for name in class_names]
