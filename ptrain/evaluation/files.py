"""Labels, predictions and class areas read from CSV and .npy files that anybody wrote."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError

HEADINGS = ("class", "label", "prediction", "predicted", "reference", "truth", "target")
"""Cells that make the first line of a CSV file a heading and name the column that is read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassColumn:
    """Classes of samples as a file gives them: numbers or names, and probabilities where it has them."""

    origin: str
    classes: NDArray[Any]
    """(samples,) integers or text."""
    probabilities: NDArray[np.floating] | None = None
    """(samples, classes)."""
    names: tuple[str, ...] | None = None
    """Class of each column of the probabilities, where the file names them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Labels and predictions of the same samples, as class numbers."""

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.floating] | None


def read_judged(predictions: Path, labels: Path) -> Judged:
    """Read predictions and labels of the same samples, in the same order.

    A .npy file holds class numbers or names (samples,), probabilities (samples, classes), or what ptrain predict
    writes. A CSV file holds a class a line, or what ptrain predict writes, or a probability a class and line. Classes
    are those that occur in either file, sorted; where there are probabilities, those that have one.
    Raises DataError for files that cannot be read or do not belong together.
    """
    found, reference = read_column(predictions, "--predictions"), read_column(labels, "--labels")
    if len(found.classes) != len(reference.classes):
        raise DataError(
            f"{len(reference.classes)} labels in {labels} and {len(found.classes)} predictions in {predictions}: "
            "expected one of each a sample, in the same order"
        )
    kinds = [{"U": "names", "i": "numbers"}[column.classes.dtype.kind] for column in (reference, found)]
    if kinds[0] != kinds[1] and found.names is None:
        raise DataError(
            f"{labels} holds {kinds[0]} of classes and {predictions} {kinds[1]}: expected the same kind in both"
        )
    if found.probabilities is not None:
        names = found.names or tuple(map(str, range(found.probabilities.shape[1])))
    else:
        names = tuple(map(str, np.unique(np.r_[reference.classes, found.classes]).tolist()))
    return Judged(
        labels=_numbers(reference, names),
        predictions=_numbers(found, names),
        class_names=names,
        probabilities=found.probabilities,
    )


def _numbers(column: ClassColumn, names: Sequence[str]) -> NDArray[np.int64]:
    """The number of each sample's class: the position of its name."""
    numbers = {name: number for number, name in enumerate(names)}
    values, inverse = np.unique(column.classes, return_inverse=True)
    if values.dtype.kind == "i" and not any(name.isdecimal() for name in names):
        numbers = {str(number): number for number in range(len(names))}  # numbers of classes that have names
    found = [str(value) for value in values.tolist()]
    unknown = next((value for value in found if value not in numbers), None)
    if unknown is not None:
        raise DataError(
            f"{column.origin}: class {unknown} has no probability in the predictions; expected one of "
            f"{_listing(list(numbers))}"
        )
    return np.array([numbers[value] for value in found], dtype=np.int64)[inverse]


def read_column(path: Path, flag: str) -> ClassColumn:
    """Read the classes, and probabilities if any, of a .npy or CSV file. ``flag`` names the file in messages.

    Raises DataError.
    """
    column = _read_npy(path, flag) if path.suffix == ".npy" else _read_csv(path, flag)
    if not len(column.classes):
        raise DataError(f"{flag} {path}: holds no samples; expected at least one")
    if column.classes.dtype.kind in "iu" and column.classes.min() < 0:
        row = int(column.classes.argmin())
        raise DataError(f"{flag} {path}: class {column.classes[row]} of sample {row}: expected 0 or more")
    return column


def _read_npy(path: Path, flag: str) -> ClassColumn:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{flag} {path}: cannot be read ({error.strerror or error}); expected a .npy file") from None
    except (ValueError, EOFError):
        raise DataError(f"{flag} {path}: is no .npy file, or holds Python objects; expected plain numbers") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{flag} {path}: is no .npy file; expected one array")
    if array.dtype.names is not None and "class" in array.dtype.names:
        shares = array["probabilities"] if "probabilities" in array.dtype.names else None
        return ClassColumn(origin=str(path), classes=array["class"].astype(np.int64), probabilities=shares)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    kind = array.dtype.kind
    if array.ndim == 2 and kind == "f":
        return _from_probabilities(path, array)
    whole = kind in "biu" or (kind == "f" and (np.isfinite(array) & (np.rint(array) == array)).all())
    if array.ndim == 1 and (whole or kind == "U"):
        return ClassColumn(origin=str(path), classes=array.astype(np.int64) if whole else array)
    raise DataError(
        f"{flag} {path}: {array.dtype} of shape {array.shape}: expected class numbers or names (samples,), or "
        "probabilities (samples, classes)"
    )


def _read_csv(path: Path, flag: str) -> ClassColumn:
    rows = _rows(path, flag)
    first = rows[0] if rows else []
    heading = next((index for index, cell in enumerate(first) if cell.lower() in HEADINGS), None)
    columns = [index for index, cell in enumerate(first) if cell.startswith("p(") and cell.endswith(")")]
    names = [first[index][2:-1] for index in columns]
    if heading is None and not names:
        if len(first) > 1:
            return _from_probabilities(path, _table(path, flag, rows, 1))
        return ClassColumn(origin=str(path), classes=_classes([row[0] for row in rows]))
    classes = [row[heading or 0] for row in rows[1:]]
    if not names:
        return ClassColumn(origin=str(path), classes=_classes(classes))
    shares = _table(path, flag, [[row[index] for index in columns] for row in rows[1:]], 2)
    if heading is None:
        return _from_probabilities(path, shares, tuple(names))
    return ClassColumn(origin=str(path), classes=np.array(classes), probabilities=shares, names=tuple(names))


def _rows(path: Path, flag: str) -> list[list[str]]:
    """The cells of a CSV file without empty lines; every line has as many as the first."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DataError(
            f"{flag} {path}: cannot be read ({error.strerror}); expected a file FILE.csv or FILE.npy"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{flag} {path}: is no CSV file in UTF-8 ({error}); expected FILE.csv or FILE.npy") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(f"{flag} {path}: {len(row)} cells in line {number}: expected {len(rows[0])}, as in line 1")
    return rows


def _classes(cells: list[str]) -> NDArray[Any]:
    """Class numbers where all cells are whole numbers, else names."""
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(cells, dtype=np.str_)


def _table(path: Path, flag: str, rows: list[list[str]], first_line: int) -> NDArray[np.float64]:
    for number, row in enumerate(rows, start=first_line):
        wrong = next((cell for cell in row if not _is_number(cell)), None)
        if wrong is not None:
            raise DataError(
                f"{flag} {path}: {wrong!r} in line {number} is no probability: expected numbers, or a heading with "
                f"a column named {' or '.join(HEADINGS[:3])}"
            )
    return np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _from_probabilities(path: Path, shares: NDArray[np.floating], names: tuple[str, ...] | None = None) -> ClassColumn:
    if shares.shape[1] < 2 or not len(shares):
        raise DataError(f"{path}: probabilities of shape {shares.shape}: expected (samples, classes)")
    largest = shares.argmax(axis=1)
    classes = largest if names is None else np.array(names)[largest]
    return ClassColumn(origin=str(path), classes=classes, probabilities=shares, names=names)


def read_areas(path: Path, class_names: Sequence[str]) -> list[float]:
    """The mapped area of each class, in the order of the names, from lines ``class,area``.

    A heading is allowed. Raises DataError for a class that is missing, given twice or unknown, and for no number.
    """
    areas: dict[str, float] = {}
    for number, row in enumerate(_rows(path, "--areas"), start=1):
        if len(row) != 2:
            raise DataError(f"--areas {path}: {len(row)} cells in line {number}: expected class,area")
        name, area = row
        if not _is_number(area):
            if number == 1 and name not in class_names:
                continue
            raise DataError(f"--areas {path}: area {area!r} of class {name}: expected a number")
        if name not in class_names:
            raise DataError(f"--areas {path}: unknown class {name}; expected {_listing(class_names)}")
        if name in areas:
            raise DataError(f"--areas {path}: class {name} given twice; expected one line a class")
        areas[name] = float(area)
    missing = [name for name in class_names if name not in areas]
    if missing:
        raise DataError(f"--areas {path}: no area of {_listing(missing)}; expected one line a class, 0 for none")
    return [areas[name] for name in class_names]


def _listing(names: Sequence[str]) -> str:
    return f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
